//! What only several shards of one process can show; with one, they are moved to where they are.

use std::fs;

use crate::cluster::{Kind, Node, eventually, same};
use crate::peer::{Client, encode};

/// How many clients and descriptors a process has.
fn taken(node: &mut Node, client: &mut Client) -> (String, usize) {
    let info = client.ask(&["INFO", "clients"]).text().to_owned();
    let clients = info.lines().find(|line| line.starts_with("connected_clients:")).expect("a field");
    let pid = node.server.child().id();
    (clients.to_owned(), fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count))
}

#[test]
fn connections_that_move_between_threads_hear_every_reply_and_leave_nothing_behind() {
    let Some(mut node) = Node::start(Kind::Whimbrel, &[]) else { return };
    assert!(node.run("CLUSTER ADDSLOTSRANGE 0 16383").is("OK"));
    let operator = &mut node.server.client();
    eventually("the cluster is up", || {
        same(operator.ask(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok"), true)
    });
    let shards =
        operator.ask(&["CONFIG", "GET", "shards"]).list()[1].text().parse::<u64>().expect("a number");
    let before = taken(&mut node, operator);
    let mut clients: Vec<Client> = (0..20).map(|_| node.server.client()).collect();
    for round in 0..50_u64 {
        for (n, client) in clients.iter_mut().enumerate() {
            let mut pipeline = Vec::new();
            for at in 0..20 {
                let there = ((round + at) % shards).to_string();
                let key = format!("k{n}:{}", at % 7);
                pipeline.extend(encode(&["INCR", &key]));
                pipeline.extend(encode(&["DEBUG", "MOVE-CLIENT", &there]));
                pipeline.extend(encode(&["ECHO", &format!("{n} {round} {at}")]));
            }
            // In two pieces, so that something comes while the link moves.
            let (first, second) = pipeline.split_at(pipeline.len() / 2 + n);
            client.send(first).expect("a link");
            client.send(second).expect("a link");
        }
        for (n, client) in clients.iter_mut().enumerate() {
            for at in 0..20 {
                assert!(client.read().expect("a reply").number() > 0);
                assert!(client.read().expect("a reply").is("OK"));
                assert_eq!(client.read().expect("a reply").text(), format!("{n} {round} {at}"));
            }
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let counts = (0..7).map(|at| client.ask(&["GET", &format!("k{n}:{at}")]).text().parse::<u64>());
        assert_eq!(counts.sum::<Result<u64, _>>(), Ok(1000), "client {n}");
    }
    drop(clients);
    eventually("nothing is left", || same(taken(&mut node, operator), before.clone()));
}
