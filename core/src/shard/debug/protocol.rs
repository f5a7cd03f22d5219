//! DEBUG PROTOCOL: one reply of each type, for tests of clients.

use crate::command::options::is;
use crate::wire::resp::{Proto, Reply};

/// Replies with a value of the type that `kind` names.
pub(super) fn show(kind: &[u8], reply: &mut Reply<'_>) {
    let ints = |reply: &mut Reply<'_>| (0..3).for_each(|n| reply.int(n));
    match kind {
        _ if is(kind, b"string") => reply.bulk(b"Hello World"),
        _ if is(kind, b"integer") => reply.int(12345),
        _ if is(kind, b"double") => reply.double(3141.0 / 1000.0),
        _ if is(kind, b"bignum") => reply.big_number("1234567999999999999999999999999999999"),
        _ if is(kind, b"null") => reply.null(),
        _ if is(kind, b"array") => {
            reply.array(3);
            ints(reply);
        }
        _ if is(kind, b"set") => {
            reply.set(3);
            ints(reply);
        }
        _ if is(kind, b"map") => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.boolean(n == 1);
            }
        }
        _ if is(kind, b"attrib") => {
            if reply.proto() == Proto::Resp3 {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        _ if is(kind, b"push") => {
            if reply.proto() == Proto::Resp2 {
                return reply.error("ERR RESP2 is not supported by this command");
            }
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        _ if is(kind, b"true") => reply.boolean(true),
        _ if is(kind, b"false") => reply.boolean(false),
        _ if is(kind, b"verbatim") => reply.verbatim("txt", "This is a verbatim\nstring"),
        _ => reply.error(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ),
    }
}
