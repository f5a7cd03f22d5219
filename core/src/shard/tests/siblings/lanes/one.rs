//! What happens to one link of several.

use super::*;
use crate::wire::syncslots;

/// A link of the pair, other than the first, of which this is so.
fn lane_that(pair: &Pair, f: impl Fn(&Pair, &Pipe) -> bool) -> Option<usize> {
    (1..pair.pipes.len()).find(|index| f(pair, &pair.pipes[*index]))
}

#[test]
fn what_comes_in_the_same_read_as_lane_belongs_to_its_stream() {
    for seed in 0..24 {
        let mut pair = Pair::new(seed, (2, 2));
        pair.start();
        let asks = |pair: &Pair| lane_that(pair, |_, pipe| !pipe.to_target.is_empty());
        pair.until("a lane asked for", |pair| asks(pair).is_some());
        let index = asks(&pair).expect("a lane");
        // At the target, of which any shard may have accepted it.
        while pair.pipes[index].far.is_none() {
            pair.bring_to_target(index);
        }
        pair.target.settle();
        let Pipe { near, far, to_target, .. } = &mut pair.pipes[index];
        let (far, lane) = (far.expect("a link"), near.shard());
        let mut read: Vec<u8> = to_target.drain(..).collect();
        let shards = Shards::new(2);
        let slot = pair.job.ranges.slots().find(|slot| shards.of(*slot) == lane).expect("a slot");
        let key = KEYS.iter().find(|key| Slot::of(key.as_bytes()) == slot).expect("a key");
        let command = syncslots::command(&[b"SET", key.as_bytes(), b"1"]);
        let (some, rest) = command.split_at([command.len(), 1, 20][seed as usize % 3]);
        read.extend_from_slice(some);
        pair.target.feed(far, &read);
        pair.target.settle();
        if !rest.is_empty() {
            pair.target.feed(far, rest);
        }
        let store = &pair.target.shards[usize::from(lane.0)].data.store;
        assert_eq!(store.slot_len_all(slot), 1, "seed {seed}");
    }
}

#[test]
fn what_ends_a_lane_at_the_target_ends_the_import_whether_or_not_the_source_hears_of_it() {
    for (nonsense, failure) in [(false, Failure::ConnectionLostToSource), (true, Failure::CommandFailed)] {
        let mut pair = Pair::new(7, (4, 2));
        pair.start();
        let lands = |pair: &Pair| {
            let is_lane = |link: LinkId| {
                let landings = &pair.target.shards[usize::from(link.shard().0)].landings;
                landings.iter().any(|lane| lane.client.link == link)
            };
            lane_that(pair, |pair, pipe| {
                pipe.far.and_then(|far| pair.target.link_of(far)).is_some_and(is_lane)
            })
        };
        pair.until("a lane", |pair| lands(pair).is_some());
        let far = pair.pipes[lands(&pair).expect("a lane")].far.expect("a link");
        if nonsense {
            pair.target.feed(far, b"PING\r\n");
        } else {
            pair.target.hang_up(far);
        }
        pair.target.settle();
        assert_eq!(pair.import(), Some(import::State::CleaningUp), "{failure}");
        pair.clean_up();
        assert_eq!(pair.target.outcomes, [Outcome::Failed(failure)]);
    }
}

#[test]
fn nothing_is_gathered_for_a_lane_that_is_lost_although_its_job_has_not_heard_of_it() {
    let mut pair = Pair::new(2, (2, 2));
    pair.start();
    let streams = |pair: &Pair| {
        let streams = |shard: &Shard| shard.data.exports.branches().any(|b| b.feed.has_arrived());
        pair.source.shards.iter().position(streams)
    };
    pair.until("a snapshot sent over a lane", |pair| streams(pair).is_some());
    let at = streams(&pair).expect("a branch");
    let gathered = |pair: &Pair| -> Vec<usize> {
        pair.source.shards[at].data.exports.branches().map(|branch| branch.feed.waiting()).collect()
    };
    let client = pair.source.connect(at as u16, 600);
    let key = KEYS.iter().find(|key| pair.source.shards[at].env.here()(Slot::of(key.as_bytes())));
    let set = format!("SET {} {}\r\n", key.expect("a key"), "x".repeat(1000));
    pair.source.feed(client, set.as_bytes());
    assert!(gathered(&pair)[0] > 1000);
    let is_it = |pipe: &Pipe| usize::from(pipe.near.shard().0) == at && pipe.near != pair.pipes[0].near;
    let near = pair.pipes.iter().find(|pipe| is_it(pipe)).expect("a link").near;
    pair.source.step(Whose::Shard(at), Input::Closed { link: near });
    assert_eq!(gathered(&pair), [0], "what cannot be sent");
    pair.source.feed(client, set.as_bytes());
    assert_eq!(pair.source.said(client), "+OK\r\n+OK\r\n");
    assert_eq!(gathered(&pair), [0], "what was written afterwards");
    pair.source.settle();
    assert_eq!(pair.source.outcomes, [Outcome::Failed(Failure::ConnectionLostToTarget)]);
}
