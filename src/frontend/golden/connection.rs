//! A client, its name, its choices and its end.

use super::*;

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
