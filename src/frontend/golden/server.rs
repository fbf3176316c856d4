//! What the server tells of itself: parameters, slow requests, numbers, commands.

use super::*;

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
        > CONFIG GET key-load-*
        *0
        > CONFIG GET KEY-load-delay
        *2
        $14
        KEY-load-delay
        $1
        0
        > CONFIG GET MAXMEM* max*y proto-max-bulk-len
        *12
        $9
        maxmemory
        $1
        0
        $17
        maxmemory-clients
        $1
        0
        $27
        maxmemory-eviction-tenacity
        $2
        10
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
        > CONFIG SET maxmemory 100mb appendonly no save '3600 1' timeout 5 notify-keyspace-events KEA
        +OK
        > CONFIG GET maxmemory appendonly save notify-keyspace-events
        *8
        $9
        maxmemory
        $9
        104857600
        $10
        appendonly
        $2
        no
        $4
        save
        $6
        3600 1
        $22
        notify-keyspace-events
        $3
        AKE
        > CONFIG SET maxmemory 0 save ''
        +OK
        > CONFIG SET hash-max-ziplist-value 20
        +OK
        > CONFIG GET hash-max-*-value
        *4
        $23
        hash-max-listpack-value
        $2
        20
        $22
        hash-max-ziplist-value
        $2
        20
        > CONFIG SET maxmemory 1 maxmemory-clients 200%
        -ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100
        > CONFIG SET maxmemory 1 port 7000
        -ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.
        > CONFIG SET port 6379 bind 127.0.0.1
        +OK
        > CONFIG SET dir /tmp
        -ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config
        > CONFIG SET requirepass secret
        -ERR CONFIG SET failed (possibly related to argument 'requirepass') - can't set immutable config
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
fn there_are_no_functions_to_flush() {
    Client::new().plays(
        "
        > FUNCTION FLUSH
        +OK
        > FUNCTION FLUSH async
        +OK
        > FUNCTION FLUSH soon
        -ERR FUNCTION FLUSH only supports SYNC|ASYNC option
        > FUNCTION FLUSH async sync
        -ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP.
        > FUNCTION LOAD x
        -ERR unknown subcommand 'LOAD'. Try FUNCTION HELP.
        ",
    );
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
