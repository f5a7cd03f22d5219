//! Stories of several machines.

use super::net::Net;
use super::rig::ranges;
use crate::cluster::{Health, Why, takeover};
use crate::ids::JobName;
use crate::rng::Rng;
use crate::slots::Slot;
use crate::wire::bus::State;

#[test]
fn nodes_that_meet_one_of_them_know_each_other_with_distinct_epochs() {
    for (n, seed) in [(2, 1), (3, 2), (3, 3), (5, 4), (5, 5), (9, 6)] {
        let net = Net::formed(n, seed);
        let view = net.view(0);
        assert_eq!((view.rows.len(), view.size), (n, n), "seed {seed}");
        assert!(view.rows.iter().all(|row| row.shard != view.myself().shard || row.myself));
        assert!(view.rows.iter().all(|row| row.slot_count > 0), "seed {seed}");
        assert_eq!(view.rows.iter().map(|row| row.slot_count).sum::<usize>(), 16384, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let story = |seed| {
        let mut net = Net::formed(4, seed);
        net.crash(3);
        net.run(9000);
        net.start(3);
        net.run(9000);
        (net.trace, net.delivered)
    };
    assert_eq!(story(11), story(11));
    assert_ne!(story(11), story(12));
}

#[test]
fn a_stopped_node_fails_and_recovers() {
    for seed in 0..4 {
        let mut net = Net::formed(5, seed);
        let gone = net.id(4);
        net.crash(4);
        let others = [0, 1, 2, 3];
        let failed = |net: &Net| others.iter().all(|&i| net.health(i, gone) == Health::Failed);
        let took = net.run_until(10_000, "failed", failed);
        assert!(took >= 1000, "seed {seed}: after {took} ms");
        assert!(others.iter().all(|&i| net.view(i).why == Some(Why::NotCovered)), "seed {seed}");
        net.run(3000);
        net.start(4);
        assert_eq!(net.id(4), gone, "the file kept its name");
        net.run_until(20_000, "recovered", |net| net.is_whole((0..5).collect()));
        assert_eq!(net.lost(4), 0, "nobody took its slots");
    }
}

#[test]
fn a_node_behind_a_cut_is_in_a_minority_and_comes_back() {
    for seed in 0..4 {
        let mut net = Net::formed(3, seed);
        let gone = net.id(2);
        net.cut(2, 0);
        net.cut(2, 1);
        let apart = |net: &Net| {
            net.health(0, gone) == Health::Failed
                && net.health(1, gone) == Health::Failed
                && net.view(2).why == Some(Why::Minority)
        };
        net.run_until(15_000, "apart", apart);
        net.run(5000);
        net.heal();
        let healed = net.ms();
        net.run_until(25_000, "together", |net| net.is_whole((0..3).collect()));
        assert!(net.ms() - healed >= 500, "seed {seed}: it waits before it serves");
    }
}

#[test]
fn one_broken_pair_is_no_failure() {
    let mut net = Net::formed(5, 3);
    let (a, b) = (net.id(0), net.id(1));
    net.cut(0, 1);
    net.run_until(15_000, "suspected", |net| net.health(0, b) == Health::Suspected);
    net.run(8000);
    for i in 2..5 {
        assert_eq!((net.health(i, a), net.health(i, b)), (Health::Up, Health::Up));
        assert_eq!(net.view(i).state, State::Ok);
    }
    net.heal();
    net.run_until(15_000, "whole", |net| net.is_whole((0..5).collect()));
}

#[test]
fn slots_claimed_twice_settle_on_the_higher_epoch() {
    for seed in 0..6 {
        let mut net = Net::new(3, seed);
        for (i, epoch) in [(0, 3), (1, 7), (2, 5)] {
            net.command(i, &std::format!("CLUSTER SET-CONFIG-EPOCH {epoch}")).unwrap();
            net.command(i, "CLUSTER ADDSLOTSRANGE 0 16000").unwrap();
        }
        net.command(2, "CLUSTER ADDSLOTSRANGE 16001 16383").unwrap();
        net.meet(1, 0);
        net.meet(2, 0);
        net.run_until(20_000, "settled", |net| {
            (0..3).all(|i| {
                let view = net.view(i);
                let owner = |number| view.owner(Slot::new(number).unwrap()).map(|row| row.id);
                owner(0) == Some(net.id(1))
                    && owner(16000) == Some(net.id(1))
                    && owner(16001) == Some(net.id(2))
            })
        });
        assert_eq!((net.lost(0), net.lost(1), net.lost(2)), (16001, 0, 16001), "seed {seed}");
        net.run_until(20_000, "whole", |net| net.is_whole((0..3).collect()));
    }
}

#[test]
fn a_node_that_was_away_while_its_slots_went_learns_it_from_the_others() {
    let mut net = Net::formed(3, 8);
    let job = JobName::from_bytes([b'j'; 40]);
    net.crash(0);
    net.run(500);
    net.act(1, |cluster, now, out| takeover::take_over(cluster, now, job, &ranges(&[(0, 5)]), out));
    net.run(500);
    net.start(0);
    net.run_until(20_000, "whole", |net| net.is_whole((0..3).collect()));
    assert_eq!(net.lost(0), 6);
    let slot = Slot::new(0).unwrap();
    assert_eq!(net.view(0).owner(slot).unwrap().id, net.id(1));
}

#[test]
fn taking_over_twice_at_once_settles() {
    for seed in 0..6 {
        let mut net = Net::formed(4, seed);
        let job = JobName::from_bytes([b'j'; 40]);
        for i in [1, 2] {
            net.act(i, |cluster, now, out| takeover::take_over(cluster, now, job, &ranges(&[(0, 5)]), out));
        }
        net.run_until(20_000, "whole", |net| net.is_whole((0..4).collect()));
        let view = net.view(3);
        let owners: std::collections::BTreeSet<_> =
            ranges(&[(0, 5)]).slots().map(|slot| view.owner(slot).unwrap().id).collect();
        assert_eq!(owners.len(), 1, "seed {seed}");
    }
}

#[test]
fn a_forgotten_node_that_was_reset_stays_away() {
    let mut net = Net::formed(4, 9);
    net.command(3, "CLUSTER FLUSHSLOTS").unwrap();
    net.command(0, "CLUSTER BUMPEPOCH").unwrap();
    let gone = net.id(3);
    let forget = std::format!("CLUSTER FORGET {gone}");
    // One FORGET is enough: the others hear of it in pings.
    net.command(0, &forget).unwrap();
    net.command(3, "CLUSTER RESET HARD").unwrap();
    let alone = |net: &Net| net.view(3).rows.len() == 1 && (0..3).all(|i| net.view(i).find(gone).is_none());
    net.run_until(20_000, "forgotten", alone);
    for _ in 0..20 {
        net.run(1000);
        assert!((0..3).all(|i| net.view(i).find(gone).is_none() && net.view(i).rows.len() == 3));
    }
    assert_eq!(net.view(3).rows.len(), 1);
    assert_ne!(net.id(3), gone);
}

#[test]
fn a_live_node_that_was_forgotten_comes_back_by_its_meet() {
    let mut net = Net::formed(3, 10);
    let gone = net.id(2);
    net.command(0, &std::format!("CLUSTER FORGET {gone}")).unwrap();
    net.run(100);
    assert!(net.view(0).find(gone).is_none());
    net.run_until(10_000, "met again", |net| net.view(0).find(gone).is_some());
    // As long as pings name it as forgotten it comes and goes; then it stays.
    net.run_until(80_000, "back", |net| net.is_whole((0..3).collect()));
}

#[test]
fn a_node_that_lost_its_file_is_not_the_node_it_was() {
    let mut net = Net::formed(3, 12);
    let old = net.id(2);
    net.command(2, "CLUSTER RESET HARD").unwrap();
    net.run_until(20_000, "noticed", |net| {
        (0..2).all(|i| net.view(i).find(old).is_some_and(|row| row.noaddr && row.health == Health::Failed))
    });
    assert_eq!(net.view(2).rows.len(), 1);
}

#[test]
fn crashes_and_cuts_leave_a_cluster_that_agrees() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let n = 3 + rng.index(3);
        let mut net = Net::formed(n, seed);
        let mut down = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let (a, b) = (rng.index(n), rng.index(n));
            match rng.index(5) {
                0 if !down.contains(&a) => {
                    net.crash(a);
                    down.insert(a);
                }
                1 if down.remove(&a) => net.start(a),
                2 if a != b => net.cut(a, b),
                3 => net.heal(),
                _ if !down.contains(&a) => {
                    let job = JobName::from_bytes([b'0' + rng.index(10) as u8; 40]);
                    let first = rng.index(16000) as u16;
                    let slots = ranges(&[(first, first + rng.index(300) as u16)]);
                    net.act(a, |cluster, now, out| takeover::take_over(cluster, now, job, &slots, out));
                }
                _ => {}
            }
            net.run(rng.below(4000));
        }
        net.heal();
        for i in down {
            net.start(i);
        }
        let what = std::format!("whole, seed {seed}");
        net.run_until(60_000, &what, |net| net.is_whole((0..n).collect()));
    }
}
