//! The cluster bus: frames and messages out of any bytes, and a machine that hears them.

use whimbrel_core::cluster::{Action, Cluster, ClusterConfig, Input};
use whimbrel_core::ids::LinkId;
use whimbrel_core::time::{Mono, Now, Wall};
use whimbrel_core::wire::bus::{
    Broken, Framer, Ignored, MAX_FRAME, MAX_STRANGER_FRAME, Message, decode, kind_of,
};

use super::Cuts;

const NOW: Now = Now { mono: Mono(1_000_000_000), wall: Wall(1_800_000_000_000_000) };

/// The first byte chooses the limit and whom the machine knows, the rest is the stream.
pub(crate) fn holds(input: &[u8]) {
    let Some((&choice, stream)) = input.split_first() else { return };
    let limit = if choice & 1 == 0 { MAX_FRAME } else { MAX_STRANGER_FRAME };
    let whole = frames(stream, limit, &mut Cuts::Whole);
    assert_eq!(whole, frames(stream, limit, &mut Cuts::seeded(stream)), "the pieces make a difference");
    if stream.len() < 6000 {
        assert_eq!(whole, frames(stream, limit, &mut Cuts::Bytes), "the pieces make a difference");
    }
    let mut sender = None;
    for frame in whole.0.iter().flatten() {
        if let Ok(message) = decode(frame) {
            assert_eq!(kind_of(frame), Some(message.kind()));
            round_trip(&message);
            if let (None, Message::Full { header, .. }) = (&sender, &message) {
                sender = Some(header.sender);
            }
        }
    }
    let known = sender.filter(|_| choice & 2 != 0).map(|id| {
        let me = "a".repeat(40);
        let mut text = format!("{me} 10.0.0.1:7000@17000 myself,master - 0 0 2 connected 5-9\n");
        // A stranger may call itself by our name.
        if id.as_str() != me {
            text.push_str(&format!("{id} 10.0.0.2:7000@17000,,tls-port=0 master - 0 0 1 connected 0-5\n"));
        }
        text + "vars currentEpoch 2 lastVoteEpoch 0\n"
    });
    heard(stream, known.as_deref(), choice & 4 != 0);
}

type Frames = (Vec<Result<Vec<u8>, Ignored>>, Option<Broken>);

fn frames(stream: &[u8], limit: usize, cuts: &mut Cuts) -> Frames {
    let mut framer = Framer::default();
    let mut found = Vec::new();
    for mut piece in cuts.pieces(stream) {
        loop {
            match framer.next(&mut piece, limit) {
                Ok(Some(frame)) => found.push(frame.map(<[u8]>::to_vec)),
                Ok(None) => break,
                Err(broken) => return (found, Some(broken)),
            }
        }
        assert!(piece.is_empty(), "bytes were left");
        assert!(framer.memory() <= 2 * stream.len() + 64, "{} bytes for a claim", framer.memory());
    }
    (found, None)
}

/// What is modelled of a message survives being written; padding and what nobody knows does not.
fn round_trip(message: &Message<'_>) {
    let bytes = message.encode();
    let again = decode(&bytes);
    if let Message::Full { body, .. } = message
        && format!("{body:?}").contains("spoiled: true")
    {
        // Gossip that could not be read is left out.
        return;
    }
    let again = again.expect("what was written can be read");
    let is_light = |m: &Message<'_>| matches!(m, Message::Light(_));
    assert_eq!(is_light(&again), is_light(message), "the header has changed its form");
    assert_eq!(again.encode(), bytes, "written, read and written again");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
}

fn heard(stream: &[u8], known: Option<&str>, dialed: bool) {
    let config = ClusterConfig { port: 7000, bus_port: 17000, ..ClusterConfig::default() };
    let mut cluster =
        Cluster::new(config.clone(), 7, NOW, known.map(str::as_bytes)).expect("a nodes.conf of ours");
    let (peer, local) = (([10, 0, 0, 2], 17000).into(), ([10, 0, 0, 1], 17000).into());
    let mut out = Vec::new();
    cluster.handle(NOW, Input::Ticked, &mut out);
    let connect = out
        .iter()
        .find_map(|action| if let Action::Connect { link, .. } = action { Some(*link) } else { None });
    let link = match connect.filter(|_| dialed) {
        Some(link) => {
            cluster.handle(NOW, Input::Connected { link, local }, &mut out);
            link
        }
        None => {
            let link = LinkId::accepted(1);
            cluster.handle(NOW, Input::Opened { link, peer, local }, &mut out);
            link
        }
    };
    out.clear();
    let pieces = Cuts::seeded(stream).pieces(stream);
    for piece in pieces {
        cluster.handle(NOW, Input::Filled { link, bytes: piece }, &mut out);
        if out.iter().any(|action| matches!(action, Action::Close { link: closed } if *closed == link)) {
            break;
        }
    }
    let later = Now { mono: Mono(NOW.mono.0 + 30_000_000), wall: Wall(NOW.wall.0 + 30_000_000) };
    cluster.handle(later, Input::Ticked, &mut out);
    // Every entry of gossip takes 104 bytes; nobody else may make us know more nodes.
    assert!(cluster.view().rows.len() <= 3 + stream.len() / 104, "{} nodes", cluster.view().rows.len());
    let sent: usize =
        out.iter().map(|action| if let Action::Send { bytes, .. } = action { bytes.len() } else { 0 }).sum();
    assert!(sent <= (2 + stream.len() / 16) * 8192, "{sent} bytes sent for {}", stream.len());
    for action in &out {
        if let Action::Save { bytes, .. } = action {
            Cluster::new(config.clone(), 8, NOW, Some(bytes)).expect("what is saved can be read");
        }
    }
}
