//! Messages between the machines of one process: orders to a shard, facts to the node.

/// A message between machines of one process.
#[derive(Clone, Debug)]
pub enum Mail {
    /// Node → shard.
    Order(Order),
    /// Shard → node.
    Fact(Fact),
}

/// What the node tells a shard.
#[derive(Clone, Debug)]
pub enum Order {}

/// What a shard tells the node.
#[derive(Clone, Debug)]
pub enum Fact {}

impl From<Order> for Mail {
    fn from(order: Order) -> Self {
        Self::Order(order)
    }
}

impl From<Fact> for Mail {
    fn from(fact: Fact) -> Self {
        Self::Fact(fact)
    }
}
