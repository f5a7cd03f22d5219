//! The two sets of bits on the bus: what a node is, and what one message asks for.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

macro_rules! bits {
    ($(#[$doc:meta])* $name:ident($inner:ty) { $($(#[$bit_doc:meta])* $bit:ident = $value:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*

            /// Whether any bit of `other` is set.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// These bits without those of `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that both have.
            #[must_use]
            pub const fn masked(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// These bits, or none.
            #[must_use]
            pub const fn when(self, condition: bool) -> Self {
                if condition { self } else { Self(0) }
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                self.0 |= other.0;
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

bits!(
    /// What a node is and can do, in headers and gossip. Bits 10 to 13 exist since Valkey 8; unknown bits are kept.
    NodeFlags(u16) {
        /// It is a primary.
        PRIMARY = 1;
        /// It is a replica.
        REPLICA = 1 << 1;
        /// The sender suspects that it failed.
        PFAIL = 1 << 2;
        /// The cluster agreed that it failed.
        FAIL = 1 << 3;
        /// It is the sender itself.
        MYSELF = 1 << 4;
        /// Its real name is not known yet.
        HANDSHAKE = 1 << 5;
        /// Its address is not known.
        NOADDR = 1 << 6;
        /// It still has to be sent a MEET.
        MEET = 1 << 7;
        /// A primary that spare replicas may move to.
        MIGRATE_TO = 1 << 8;
        /// A replica that will not start elections.
        NOFAILOVER = 1 << 9;
        /// It understands extension records.
        EXTENSIONS = 1 << 10;
        /// It understands light headers on pub/sub messages.
        LIGHT_PUBSUB = 1 << 11;
        /// It understands light headers on module messages, and repeated MEETs on a known link.
        LIGHT_MODULE = 1 << 12;
        /// A replica that sees its primary failed. A hint only: Valkey 9.1 forgets to clear it.
        MY_PRIMARY_FAILED = 1 << 13;
    }
);

bits!(
    /// The first byte of the message flags.
    MessageFlags(u8) {
        /// The sender is a primary paused for a manual failover.
        PAUSED = 1;
        /// Vote even if the primary looks alive.
        FORCE_ACK = 2;
        /// The sender understands extensions; records follow if the header's count is not zero.
        EXT_DATA = 4;
    }
);
