//! Conversations: what a client types, what it is answered. Replies of several lines are shown with their line ends.

use super::*;
use crate::protocol::command::resolve;
use crate::protocol::frame::ReadLevel;
use crate::protocol::request::{Limits, Parsed, RequestParser};

struct Process;

impl Holder for Process {
    fn facts(&self) -> Facts {
        Facts {
            version: "0.1.0".into(),
            process: "proxy".into(),
            port: 6379,
            clients: 2,
            keys: 3,
            replicas_acknowledging: 1,
            last_save: 1_700_000_000,
            resident_bytes: 2048,
            commands: vec![facts::CommandCount { name: "get", calls: 4, microseconds: 10, ..Default::default() }],
            errors: vec![("ERR".into(), 7)],
            ..Facts::default()
        }
    }

    fn clients(&self) -> Vec<ClientView> {
        let seat = Seat { address: "1.2.3.4:5".into(), local_address: "9.9.9.9:6379".into(), ..Seat::default() };
        vec![Session::new(4, ReadLevel::Session, Moment::default()).view(&seat, Moment::default())]
    }
}

/// A client that is connected as number 7.
struct Client {
    session: Session,
    desk: Desk,
}

impl Client {
    fn new() -> Self {
        Self { session: Session::new(7, ReadLevel::Session, Moment::default()), desk: Desk::default() }
    }

    /// The reply to one inline request, and what the holder is to do.
    fn says(&mut self, line: &str) -> (String, Effect) {
        let (mut spans, mut side, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let line = format!("{line}\n");
        let parsed = RequestParser::default().parse(line.as_bytes(), &Limits::default(), &mut spans, &mut side);
        assert!(matches!(parsed, Ok(Parsed::Request { .. })), "{line}");
        let args = Args::new(&side, &spans);
        let seat = Seat {
            address: "10.0.0.1:4711".into(),
            local_address: "10.0.0.2:6379".into(),
            descriptor: 9,
            ..Seat::default()
        };
        let around = Around {
            desk: &self.desk,
            holder: &Process,
            seat: &seat,
            now: Moment::at(std::time::Duration::from_secs(60)),
            wall: LogTime(1_700_000_000_123),
        };
        let effect = match resolve(args) {
            Ok(spec) => answer(spec, args, &mut self.session, &around, &mut out),
            Err(error) => {
                error.write(args, &mut out);
                Effect::None
            }
        };
        (String::from_utf8(out).unwrap(), effect)
    }

    fn hears(&mut self, line: &str) -> String {
        let (reply, effect) = self.says(line);
        assert_eq!(effect, Effect::None, "{line}");
        reply
    }

    /// Plays a script: a line that starts with `>` is a request, the lines behind it are the reply. A line that ends
    /// with `...` stands for any line that starts like it.
    fn plays(&mut self, script: &str) {
        for scene in script.split("\n        > ").skip(1) {
            let (request, reply) = scene.split_once('\n').unwrap();
            let expected: Vec<&str> = reply.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let heard = self.hears(request.trim());
            let heard: Vec<&str> = heard.split("\r\n").map(str::trim).filter(|line| !line.is_empty()).collect();
            let fits = heard.len() == expected.len()
                && heard.iter().zip(&expected).all(|(heard, expected)| match expected.strip_suffix("...") {
                    Some(start) => heard.starts_with(start),
                    None => heard == expected,
                });
            assert!(fits, "{request}\nheard {heard:#?}\nexpected {expected:#?}");
        }
    }
}

#[test]
fn a_client_says_hello() {
    Client::new().plays(
        "
        > PING
        +PONG
        > ping hi
        $2
        hi
        > PING a b
        -ERR wrong number of arguments for 'ping' command
        > HELLO
        *14
        $6
        server
        $5
        redis
        $7
        version
        $5
        7.2.6
        $5
        proto
        :2
        $2
        id
        :7
        $4
        mode
        $10
        standalone
        $4
        role
        $6
        master
        $7
        modules
        *0
        > HELLO 4
        -NOPROTO unsupported protocol version
        > HELLO x
        -ERR Protocol version is not an integer or out of range
        > HELLO 3 AUTH default secret
        -ERR AUTH <password> called without any password configured for the default user. Are you sure ...
        > HELLO 3 SETNAME
        -ERR Syntax error in HELLO option 'SETNAME'
        > HELLO 3 SETNAME 'a b'
        -ERR Client names cannot contain spaces, newlines or special characters.
        > CLIENT GETNAME
        $-1
        > HELLO 3 SETNAME me
        %7
        $6
        server
        $5
        redis
        $7
        version
        $5
        7.2.6
        $5
        proto
        :3
        $2
        id
        :7
        $4
        mode
        $10
        standalone
        $4
        role
        $6
        master
        $7
        modules
        *0
        > CLIENT GETNAME
        $2
        me
        > RESET
        +RESET
        > CLIENT GETNAME
        $-1
        > AUTH secret
        -ERR AUTH <password> called without any password configured ...
        > AUTH a b c
        -ERR syntax error
        > SELECT 0
        +OK
        > SELECT 1
        -ERR DB index is out of range
        > SELECT x
        -ERR value is not an integer or out of range
        > SELECT 99999999999
        -ERR value is out of range, value must between -2147483648 and 2147483647
        > SWAPDB 0 0
        +OK
        > SWAPDB 0 1
        -ERR DB index is out of range
        > SWAPDB x 1
        -ERR invalid first DB index
        > SWAPDB 0 99999999999
        -ERR invalid second DB index
        > ECHO hi
        $2
        hi
        > WAIT 5 0
        :1
        > WAIT 5 -1
        -ERR timeout is negative
        > WAIT 5 9223372036854775807
        -ERR timeout is out of range
        > WAIT x 0
        -ERR value is not an integer or out of range
        > nope a b
        -ERR unknown command 'nope', with args beginning with: 'a' 'b'
        > client nope
        -ERR unknown subcommand 'nope'. Try CLIENT HELP.
        > client
        -ERR wrong number of arguments for 'client' command
        > client id x
        -ERR wrong number of arguments for 'client|id' command
        ",
    );
}

#[test]
fn a_client_chooses_what_its_reads_promise() {
    let mut client = Client::new();
    client.plays(
        "
        > CLIENT READS
        $7
        session
        > CLIENT READS Strong
        +OK
        > CLIENT READS
        $6
        strong
        > READONLY
        +OK
        > CLIENT READS
        $3
        any
        > READWRITE
        +OK
        > CLIENT READS
        $6
        strong
        > CLIENT READS eventually
        -ERR unknown read level: it is one of strong, session, any
        > RESET
        +RESET
        ",
    );
    assert_eq!(client.session.reads(), ReadLevel::Session);
}

#[test]
fn a_client_describes_itself_and_sees_others() {
    let mut client = Client::new();
    client.plays(
        "
        > CLIENT ID
        :7
        > CLIENT SETNAME worker-1
        +OK
        > CLIENT SETNAME 'a b'
        -ERR Client names cannot contain spaces, newlines or special characters.
        > CLIENT SETINFO lib-name redis-py
        +OK
        > CLIENT SETINFO LIB-VER 5.0
        +OK
        > CLIENT SETINFO lib-ver '5 0'
        -ERR lib-ver cannot contain spaces, newlines or special characters.
        > CLIENT SETINFO lib-x 1
        -ERR Unrecognized option 'lib-x'
        > CLIENT NO-EVICT on
        +OK
        > CLIENT NO-TOUCH on
        +OK
        > CLIENT NO-TOUCH maybe
        -ERR syntax error
        > CLIENT LIST ID 4 x
        -ERR Invalid client ID
        > CLIENT LIST TYPE nobody
        -ERR Unknown client type 'nobody'
        > CLIENT LIST TYPE pubsub
        $0
        > CLIENT LIST foo
        -ERR syntax error
        > CLIENT GETREDIR
        :-1
        > CLIENT TRACKINGINFO
        *6
        $5
        flags
        *1
        $3
        off
        $8
        redirect
        :-1
        $8
        prefixes
        *0
        > CLIENT CACHING yes
        -ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled
        > CLIENT UNBLOCK 5
        :0
        > CLIENT UNBLOCK 5 maybe
        -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR
        ",
    );
    let info = client.hears("CLIENT INFO");
    let own = "id=7 addr=10.0.0.1:4711 laddr=10.0.0.2:6379 fd=9 name=worker-1 age=60 idle=60 flags=eT db=0";
    assert!(info.contains(own), "{info}");
    assert!(info.ends_with("user=default redir=-1 resp=2 lib-name=redis-py lib-ver=5.0\n\r\n"), "{info}");
    let list = client.hears("CLIENT LIST");
    assert!(list.contains("\r\nid=4 addr=1.2.3.4:5 ") && list.contains("\nid=7 "), "{list}");
    let list = client.hears("CLIENT LIST ID 4 99");
    assert!(list.contains("\r\nid=4 ") && !list.contains("id=7"), "{list}");
    assert!(client.hears("CLIENT HELP").starts_with("*41\r\n+CLIENT <subcommand> [<arg> [value] [opt] ...]. Sub"));
}

#[test]
fn some_commands_have_effects() {
    let mut client = Client::new();
    let ok = || "+OK\r\n".to_owned();
    assert_eq!(client.says("QUIT"), (ok(), Effect::Close));
    assert_eq!(client.says("CLIENT KILL 1.2.3.4:5"), (ok(), Effect::Kill(vec![4])));
    assert_eq!(client.says("CLIENT KILL 10.0.0.1:4711"), (ok(), Effect::Kill(vec![7])));
    assert_eq!(client.says("CLIENT KILL 1.1.1.1:1"), ("-ERR No such client\r\n".into(), Effect::None));
    assert_eq!(client.says("CLIENT KILL TYPE normal"), (":1\r\n".into(), Effect::Kill(vec![4])));
    assert_eq!(client.says("CLIENT KILL TYPE normal SKIPME no"), (":2\r\n".into(), Effect::Kill(vec![4, 7])));
    assert_eq!(client.says("CLIENT KILL ID 4 LADDR 9.9.9.9:6379"), (":1\r\n".into(), Effect::Kill(vec![4])));
    assert_eq!(client.says("CLIENT KILL ID 99"), (":0\r\n".into(), Effect::None));
    assert_eq!(client.says("CLIENT KILL ID 0"), ("-ERR client-id should be greater than 0\r\n".into(), Effect::None));
    assert_eq!(client.says("CLIENT KILL ID 4 ADDR"), ("-ERR syntax error\r\n".into(), Effect::None));
    let until = Moment::at(std::time::Duration::from_millis(60_500));
    assert_eq!(client.says("CLIENT PAUSE 500"), (ok(), Effect::Pause { until, writes_only: false }));
    assert_eq!(client.says("CLIENT PAUSE 500 WRITE"), (ok(), Effect::Pause { until, writes_only: true }));
    assert_eq!(client.says("CLIENT UNPAUSE"), (ok(), Effect::Unpause));
    assert_eq!(client.says("CONFIG RESETSTAT"), (ok(), Effect::ResetStatistics));
    assert_eq!(client.hears("CLIENT PAUSE 500 now"), "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n");
}

#[test]
fn replies_can_be_switched_off() {
    let mut client = Client::new();
    assert_eq!(client.hears("CLIENT REPLY SKIP"), "");
    assert_eq!(client.hears("PING"), "");
    assert_eq!(client.hears("PING"), "+PONG\r\n");
    assert_eq!(client.hears("CLIENT REPLY OFF"), "");
    assert_eq!(client.hears("PING"), "");
    assert_eq!(client.hears("CLIENT REPLY SKIP"), "");
    assert_eq!(client.hears("CLIENT REPLY maybe"), "");
    assert!(!client.session.starts_request());
    assert_eq!(client.hears("CLIENT REPLY ON"), "+OK\r\n");
    assert_eq!(client.hears("CLIENT REPLY maybe"), "-ERR syntax error\r\n");
    assert_eq!(client.hears("CLIENT REPLY SKIP"), "");
    assert!(!client.session.starts_request());
    assert!(client.session.starts_request());
}

#[test]
fn parameters_are_read_and_set() {
    let mut client = Client::new();
    client.plays(
        "
        > CONFIG GET save
        *2
        $4
        save
        $0
        > CONFIG GET nope
        *0
        > CONFIG GET MAXMEM* max*y proto-max-bulk-len
        *8
        $9
        maxmemory
        $1
        0
        $16
        maxmemory-policy
        $10
        noeviction
        $17
        maxmemory-samples
        $1
        5
        $18
        proto-max-bulk-len
        $8
        67108864
        > CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 5
        +OK
        > CONFIG GET slowlog-max-len
        *2
        $15
        slowlog-max-len
        $1
        5
        > CONFIG SET save ''
        +OK
        > CONFIG SET repl-backlog-size 1mb
        +OK
        > CONFIG SET nope 1
        -ERR Unknown option or number of arguments for CONFIG SET - 'nope'
        > CONFIG SET hz 10 nope 1
        -ERR Unknown option or number of arguments for CONFIG SET - 'nope'
        > CONFIG SET hz 10 hz 20
        -ERR CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter
        > CONFIG SET databases 3
        -ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config
        > CONFIG SET slowlog-max-len x
        -ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - argument couldn't be parsed into an integer
        > CONFIG SET slowlog-log-slower-than -2
        -ERR CONFIG SET failed (possibly related to argument 'slowlog-log-slower-than') - argument must be between -1 and 9223372036854775807 inclusive
        > CONFIG SET activedefrag 1
        -ERR CONFIG SET failed (possibly related to argument 'activedefrag') - argument must be 'yes' or 'no'
        > CONFIG SET repl-backlog-size 1zb
        -ERR CONFIG SET failed (possibly related to argument 'repl-backlog-size') - argument must be a memory value
        > CONFIG SET a b c
        -ERR syntax error
        > CONFIG REWRITE
        -ERR The server is running without a config file
        ",
    );
    assert_eq!(client.desk.parameters.slow_from_microseconds(), Some(0));
    assert_eq!(client.desk.parameters.slow_log_entries(), 5);
    client.hears("HELLO 3");
    assert_eq!(client.hears("CONFIG GET maxmemory"), "%1\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n");
}

#[test]
fn slow_requests_are_kept_in_a_ring() {
    let mut client = Client::new();
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    let long = [b'x'; 130];
    let words: Vec<&[u8]> = std::iter::once(&b"MSET"[..]).chain(std::iter::repeat_n(&long[..], 40)).collect();
    crate::protocol::request::write_array(&mut bytes, words.into_iter());
    crate::protocol::request::parse_array(&bytes, &mut spans).unwrap();
    for microseconds in [10, 20, 30] {
        let args = Args::new(&bytes, &spans[..if microseconds == 30 { 41 } else { 1 }]);
        let wall = LogTime(5_000);
        client.desk.slow_log.push(SlowRequest { args, microseconds, wall, address: "1.2.3.4:5", name: b"me" }, 2);
    }
    client.plays(
        "
        > SLOWLOG LEN
        :2
        > SLOWLOG GET -2
        -ERR count should be greater than or equal to -1
        > SLOWLOG GET 1 2
        -ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.
        ",
    );
    let newest = client.hears("SLOWLOG GET 1");
    assert!(newest.starts_with("*1\r\n*6\r\n:2\r\n:5\r\n:30\r\n*32\r\n$4\r\nMSET\r\n$146\r\nxxx"));
    assert!(newest.contains("x... (2 more bytes)\r\n"));
    assert!(newest.ends_with("$23\r\n... (10 more arguments)\r\n$9\r\n1.2.3.4:5\r\n$2\r\nme\r\n"), "{newest}");
    assert_eq!(client.hears("SLOWLOG RESET"), "+OK\r\n");
    assert_eq!(client.hears("SLOWLOG GET -1"), "*0\r\n");
}

#[test]
fn the_server_is_described() {
    let mut client = Client::new();
    client.plays(
        "
        > TIME
        *2
        $10
        1700000000
        $6
        123000
        > ROLE
        *3
        $6
        master
        :0
        *0
        > LASTSAVE
        :1700000000
        > LATENCY LATEST
        *0
        > LATENCY HISTORY x
        *0
        > LATENCY RESET
        :0
        > LATENCY GRAPH x
        -ERR No samples available for event 'x'
        > LATENCY HISTOGRAM
        *0
        > MEMORY PURGE
        +OK
        > MEMORY MALLOC-STATS
        $45
        Stats not supported for the current allocator
        > DEBUG SLEEP 1
        -ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a...
        > CLUSTER INFO
        -ERR This instance has cluster support disabled
        > OBJECT HELP
        *11
        +OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
        +ENCODING <key...
        +...
        +FREQ <key...
        +...
        +IDLETIME <key...
        +...
        +REFCOUNT <key...
        +...
        +HELP
        +    Print this help.
        > INFO keyspace commandstats
        $142
        # Commandstats
        cmdstat_get:calls=4,usec=10,usec_per_call=2.50,rejected_calls=0,failed_calls=0
        # Keyspace
        db0:keys=3,expires=0,avg_ttl=0
        ",
    );
    let default = client.hears("INFO");
    let headings = |info: &str| info.lines().filter_map(|line| line.strip_prefix("# ")).collect::<Vec<_>>().join(" ");
    assert_eq!(
        headings(&default),
        "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats Cluster Keyspace Pontoon"
    );
    for line in [
        "redis_version:7.2.6",
        "redis_mode:standalone",
        "connected_clients:2",
        "used_memory_human:2.00K",
        "role:master",
        "errorstat_ERR:count=7",
        "total_error_replies:7",
        "pontoon_process:proxy",
        "reads_of_this_connection:session",
    ] {
        assert!(default.contains(&format!("\r\n{line}\r\n")), "{line}");
    }
    let everything = client.hears("INFO everything");
    assert!(headings(&everything).contains("Commandstats"), "{everything}");
    assert_eq!(headings(&client.hears("INFO nope")), "");
    client.hears("HELLO 3");
    assert!(client.hears("INFO cluster").starts_with("=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n"));
    assert!(client.hears("LOLWUT").contains("Redis ver. 7.2.6"));
    assert!(client.hears("MEMORY STATS").starts_with("%17\r\n$14\r\npeak.allocated\r\n:0\r\n"));
}

#[test]
fn the_command_table_is_shown() {
    let mut client = Client::new();
    client.plays(
        "
        > COMMAND INFO get nope config|get
        *3
        *10
        $3
        get
        :2
        *2
        +readonly
        +fast
        :1
        :1
        :1
        *3
        +@read
        +@string
        +@fast
        *0
        *1
        *6
        $5
        flags
        *2
        +RO
        +access
        $12
        begin_search
        *4
        $4
        type
        $5
        index
        $4
        spec
        *2
        $5
        index
        :1
        $9
        find_keys
        *4
        $4
        type
        $5
        range
        $4
        spec
        *6
        $7
        lastkey
        :0
        $7
        keystep
        :1
        $5
        limit
        :0
        *0
        $-1
        *10
        $10
        config|get
        :-3
        *4
        +admin
        +noscript
        +loading
        +stale
        :0
        :0
        :0
        *3
        +@admin
        +@slow
        +@dangerous
        *0
        *0
        *0
        > COMMAND GETKEYS MSET a 1 b 2
        *2
        $1
        a
        $1
        b
        > COMMAND GETKEYS PING
        -ERR The command has no key arguments
        > COMMAND GETKEYS nope
        -ERR Invalid command specified
        > COMMAND GETKEYS GET
        -ERR Invalid number of arguments specified for command
        > COMMAND GETKEYSANDFLAGS SET k v GET
        *1
        *2
        $1
        k
        *3
        +RW
        +access
        +update
        > COMMAND GETKEYSANDFLAGS SET k v EX 1
        *1
        *2
        $1
        k
        *2
        +OW
        +update
        > COMMAND LIST FILTERBY PATTERN memory|u*
        *1
        $12
        memory|usage
        > COMMAND LIST FILTERBY MODULE x
        *0
        > COMMAND LIST FILTERBY ACLCAT nope
        *0
        > COMMAND LIST FILTERBY x y
        -ERR syntax error
        > COMMAND DOCS getset nope
        *2
        $6
        getset
        *14
        $7
        summary
        $50
        Returns the value of a key and gives it a new one.
        $5
        since
        $5
        1.0.0
        $5
        group
        $6
        string
        $10
        complexity
        $4
        O(1)
        $9
        doc_flags
        *1
        +deprecated
        $16
        deprecated_since
        $5
        6.2.0
        $11
        replaced_by
        $30
        `SET` with the `!GET` argument
        ",
    );
    let count = client.hears("COMMAND COUNT");
    for all in ["COMMAND", "COMMAND INFO"] {
        assert!(client.hears(all).starts_with(&count.replace(':', "*")), "{all}");
    }
    let docs = client.hears("COMMAND DOCS");
    let whole = crate::protocol::reply_scan::reply_end(docs.as_bytes());
    assert_eq!(whole, Ok(Some(docs.len())));
    client.hears("HELLO 3");
    let docs = client.hears("COMMAND DOCS");
    assert!(docs.starts_with(&count.replace(':', "%")));
    assert_eq!(crate::protocol::reply_scan::reply_end(docs.as_bytes()), Ok(Some(docs.len())));
}
