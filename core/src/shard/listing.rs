//! CLIENT LIST and CLIENT INFO: one line per client.

use alloc::format;
use alloc::string::String;

use crate::input::Origin;
use crate::shard::session::Client;
use crate::time::Now;

/// The line of a client, without newline.
pub(crate) fn line(now: Now, client: &Client, unsent: usize) -> String {
    describe(now, client, unsent, &client.flags())
}

/// The line of a client with these flags (links of slot migrations have their own).
pub(crate) fn describe(now: Now, client: &Client, unsent: usize, flags: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (peer, local) = match client.origin {
        Origin::Tcp { peer, local } => (format!("{peer}"), format!("{local}")),
        Origin::Unix => ("/unixsocket:0".into(), "/unixsocket:0".into()),
    };
    let command = client.last_command.map_or_else(|| "NULL".into(), |c| String::from(c.name));
    let memory = client.transaction.bytes() + unsent;
    format!(
        "id={} addr={peer} laddr={local} fd=-1 name={} age={} idle={} flags={} capa={} db={} sub=0 psub=0 ssub=0 \
         multi={} watch={} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem={} rbs=0 rbp=0 obl=0 oll=0 omem={unsent} \
         tot-mem={memory} events=r cmd={command} user=default redir=-1 resp={} lib-name={} lib-ver={} tot-net-in={} \
         tot-net-out={} tot-cmds={}",
        client.id,
        text(&client.name),
        now.mono.since(client.opened).as_ms() / 1000,
        now.mono.since(client.last_active).as_ms() / 1000,
        text(flags),
        if client.capa_redirect { "r" } else { "" },
        client.db,
        client.transaction.queued(),
        client.transaction.watching(),
        client.transaction.bytes(),
        client.proto.version(),
        text(&client.lib_name),
        text(&client.lib_ver),
        client.bytes_in,
        client.bytes_out,
        client.commands,
    )
}
