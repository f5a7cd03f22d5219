//! Commands about the connection they come on.

use super::flags::{ADMIN, ALLOW_BUSY, FAST, LOADING, NO_AUTH, NO_MULTI, NOSCRIPT, STALE};
use super::{Command, Group, Id, acl};

const fn connection(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Connection, acl::CONNECTION, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    connection(Id::Auth, "auth", -2, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, "1.0.0")
        .about("Proves who the client is.")
        .cost("O(N) with N being the number of passwords of the user")
        .args("[username@6.0.0] password"),
    connection(Id::Container, "client", -2, 0, "2.4.0")
        .about("Groups the commands about client connections.")
        .cost("Depends on the subcommand")
        .acl(0)
        .subcommands(CLIENT),
    connection(Id::Echo, "echo", 2, LOADING | STALE | FAST, "1.0.0")
        .about("Returns its argument.")
        .args("message"),
    connection(Id::Hello, "hello", -1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, "6.0.0")
        .about("Chooses the version of the protocol, logs in and names the connection in one step.")
        .args("[arguments{protover:int [AUTH=auth{username password}] [SETNAME=clientname]}]"),
    connection(Id::Ping, "ping", -1, FAST, "1.0.0")
        .about("Answers, so that the client sees that the server lives.")
        .args("[message]")
        .tips("request_policy:all_shards response_policy:all_succeeded"),
    connection(Id::Quit, "quit", -1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, "1.0.0")
        .about("Closes the connection."),
    connection(Id::Reset, "reset", 1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, "6.2.0")
        .about("Brings the connection back to the state it began in."),
    connection(Id::Select, "select", 2, LOADING | STALE | FAST | ALLOW_BUSY, "1.0.0")
        .about("Chooses the database of the connection.")
        .args("index:int"),
];

/// Of CLIENT.
const CLIENT: &[Command] = &[
    connection(Id::ClientCaching, "client|caching", 3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "6.0.0")
        .about("Says whether the keys of the next command are to be tracked.")
        .args("mode(YES|NO)"),
    connection(Id::ClientCapa, "client|capa", -3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "8.0.0")
        .about("Says what the client is able to do.")
        .args("capability*"),
    connection(Id::ClientGetname, "client|getname", 2, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "2.6.9")
        .about("Tells the name of the connection."),
    connection(Id::ClientGetredir, "client|getredir", 2, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "6.0.0")
        .about("Tells which client gets the invalidations of this one."),
    connection(Id::ClientHelp, "client|help", 2, LOADING | STALE, "5.0.0").about("Lists the subcommands."),
    connection(Id::ClientId, "client|id", 2, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "5.0.0")
        .about("Tells the number of the connection."),
    connection(Id::ClientImportSource, "client|import-source", 3, NOSCRIPT | LOADING | STALE, "8.1.0")
        .about("Marks the connection as one that brings data from elsewhere.")
        .args("enabled(ON|OFF)"),
    connection(Id::ClientInfo, "client|info", 2, NOSCRIPT | LOADING | STALE, "6.2.0")
        .about("Describes the connection.")
        .tips("nondeterministic_output"),
    connection(Id::ClientKill, "client|kill", -3, ADMIN | NOSCRIPT | LOADING | STALE, "2.4.0")
        .about("Closes the connections that match, or the one of an address.")
        .cost("O(N) with N being the number of clients")
        .args(
            "filter(old-format/ip:port|new-format([ID=client-id:int@2.8.12*]|\
             [TYPE=client-type(NORMAL|MASTER@3.2.0|PRIMARY@8.0.0|SLAVE|REPLICA@5.0.0|PUBSUB)@2.8.12]|\
             [USER=username]|[ADDR=addr/ip:port]|[LADDR=laddr/ip:port@6.2.0]|[SKIPME=skipme(YES|NO)]|\
             [MAXAGE=maxage:int@8.0.0]|[NAME=name@9.0.0]|[IDLE=idle:int@9.0.0]|[FLAGS=flags@9.0.0]|\
             [LIB-NAME=lib-name@9.0.0]|[LIB-VER=lib-ver@9.0.0]|[DB=db:int@9.0.0]|[CAPA=capa@9.0.0]|\
             [IP=ip@9.0.0]|[NOT-TYPE=not-client-type(NORMAL|MASTER|PRIMARY|SLAVE|REPLICA|\
             PUBSUB)@9.0.0]|[NOT-ID=not-client-id:int@9.0.0*]|[NOT-USER=not-username@9.0.0]|\
             [NOT-ADDR=not-addr/ip:port@9.0.0]|[NOT-LADDR=not-laddr/ip:port@9.0.0]|\
             [NOT-NAME=not-name@9.0.0]|[NOT-FLAGS=not-flags@9.0.0]|[NOT-LIB-NAME=not-lib-name@9.0.0]|\
             [NOT-LIB-VER=not-lib-ver@9.0.0]|[NOT-DB=not-db:int@9.0.0]|[NOT-CAPA=not-capa@9.0.0]|\
             [NOT-IP=not-ip@9.0.0])*)",
        ),
    connection(Id::ClientList, "client|list", -2, ADMIN | NOSCRIPT | LOADING | STALE, "2.4.0")
        .about("Describes the connections that match.")
        .cost("O(N) with N being the number of clients")
        .args(
            "[TYPE=client-type(NORMAL|MASTER|REPLICA|PUBSUB)@5.0.0] [ID=client-id:int@6.2.0*] \
             [USER=username@8.1.0] [ADDR=addr/ip:port@8.1.0] [LADDR=laddr/ip:port@8.1.0] \
             [SKIPME=skipme(YES|NO)@8.1.0] [MAXAGE=maxage:int@8.1.0] [NAME=name@9.0.0] \
             [IDLE=idle:int@9.0.0] [FLAGS=flags@9.0.0] [LIB-NAME=lib-name@9.0.0] \
             [LIB-VER=lib-ver@9.0.0] [DB=db:int@9.0.0] [CAPA=capa@9.0.0] [IP=ip@9.0.0] \
             [NOT-TYPE=not-client-type(NORMAL|MASTER|REPLICA|PUBSUB)@9.0.0] \
             [NOT-ID=not-client-id:int@9.0.0*] [NOT-USER=not-username@9.0.0] \
             [NOT-ADDR=not-addr/ip:port@9.0.0] [NOT-LADDR=not-laddr/ip:port@9.0.0] \
             [NOT-NAME=not-name@9.0.0] [NOT-FLAGS=not-flags@9.0.0] [NOT-LIB-NAME=not-lib-name@9.0.0] \
             [NOT-LIB-VER=not-lib-ver@9.0.0] [NOT-DB=not-db:int@9.0.0] [NOT-CAPA=not-capa@9.0.0] \
             [NOT-IP=not-ip@9.0.0]",
        )
        .tips("nondeterministic_output"),
    connection(
        Id::ClientNoEvict,
        "client|no-evict",
        3,
        ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,
        "7.0.0",
    )
    .about("Spares the connection when clients are closed to save memory.")
    .args("enabled(ON|OFF)"),
    connection(Id::ClientNoTouch, "client|no-touch", 3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "7.2.0")
        .about("Keeps the commands of the connection from marking keys as used.")
        .args("enabled(ON|OFF)"),
    connection(Id::ClientPause, "client|pause", -3, ADMIN | NOSCRIPT | LOADING | STALE, "3.0.0")
        .about("Makes the commands of clients wait for a while.")
        .args("timeout:int [mode(WRITE|ALL)@6.2.0]"),
    connection(
        Id::ClientReply,
        "client|reply",
        3,
        NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
        "3.2.0",
    )
    .about("Turns the replies to the connection off, on, or off for one command.")
    .args("action(ON|OFF|SKIP)"),
    connection(Id::ClientSetinfo, "client|setinfo", 4, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "7.2.0")
        .about("Says which library the client was built with.")
        .args("attr(LIB-NAME=libname|LIB-VER=libver)")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
    connection(Id::ClientSetname, "client|setname", 3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, "2.6.9")
        .about("Names the connection.")
        .args("connection-name")
        .tips("request_policy:all_nodes response_policy:all_succeeded"),
    connection(Id::ClientTracking, "client|tracking", -3, NOSCRIPT | LOADING | STALE, "6.0.0")
        .about("Has the connection told of keys that change, so that it can keep values of its own.")
        .cost("O(1), and more with prefixes")
        .args("status(ON|OFF) [REDIRECT=client-id:int] [PREFIX=prefix**] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"),
    connection(Id::ClientTrackinginfo, "client|trackinginfo", 2, NOSCRIPT | LOADING | STALE, "6.2.0")
        .about("Tells how the connection tracks keys."),
    connection(Id::ClientUnblock, "client|unblock", -3, ADMIN | NOSCRIPT | LOADING | STALE, "5.0.0")
        .about("Ends the waiting of a blocked client.")
        .cost("O(log N) with N being the number of clients")
        .args("client-id:int [unblock-type(TIMEOUT|ERROR)]"),
    connection(Id::ClientUnpause, "client|unpause", 2, ADMIN | NOSCRIPT | LOADING | STALE, "6.2.0")
        .about("Ends a pause early.")
        .cost("O(N) with N being the number of clients"),
];
