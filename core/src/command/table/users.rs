//! Commands about users and what they may do.

use super::flags::{ADMIN, LOADING, NOSCRIPT, STALE};
use super::{Command, Group, Id};

const fn acl(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Server, 0, id, name, arity, flags | LOADING | STALE, since)
}

/// For those who may manage users.
const fn admin(id: Id, name: &'static str, arity: i16, since: &'static str) -> Command {
    acl(id, name, arity, ADMIN | NOSCRIPT, since)
}

const EVERYWHERE: &str = "request_policy:all_nodes response_policy:all_succeeded";

/// Of ACL.
pub(super) const ACL: &[Command] = &[
    acl(Id::AclCat, "acl|cat", -2, NOSCRIPT, "6.0.0")
        .about("Lists the categories, or the commands of one.")
        .cost("O(1), there being so many commands and no more")
        .args("[category]"),
    admin(Id::AclDeluser, "acl|deluser", -3, "6.0.0")
        .about("Removes users and ends their connections.")
        .cost("O(1) for an ordinary user")
        .args("username*")
        .tips(EVERYWHERE),
    admin(Id::AclDryrun, "acl|dryrun", -4, "7.0.0")
        .about("Tells whether a user may run a command, without running it.")
        .args("username command [arg*]"),
    acl(Id::AclGenpass, "acl|genpass", -2, NOSCRIPT, "6.0.0")
        .about("Makes a password that cannot be guessed.")
        .args("[bits:int]"),
    admin(Id::AclGetuser, "acl|getuser", 3, "6.0.0")
        .about("Tells the rules of a user.")
        .cost("O(N) with N being the number of its passwords and rules")
        .args("username"),
    acl(Id::AclHelp, "acl|help", 2, 0, "6.0.0").about("Lists the subcommands."),
    admin(Id::AclList, "acl|list", 2, "6.0.0")
        .about("Lists all users as an ACL file has them.")
        .cost("O(N) with N being the number of users"),
    admin(Id::AclLoad, "acl|load", 2, "6.0.0")
        .about("Reads the ACL file again.")
        .cost("O(N) with N being the number of users"),
    admin(Id::AclLog, "acl|log", -2, "6.0.0")
        .about("Shows what was refused lately.")
        .cost("O(N) with N being the number of entries shown")
        .args("[operation(count:int|RESET)]"),
    admin(Id::AclSave, "acl|save", 2, "6.0.0")
        .about("Writes the users to the ACL file.")
        .cost("O(N) with N being the number of users")
        .tips(EVERYWHERE),
    admin(Id::AclSetuser, "acl|setuser", -3, "6.0.0")
        .about("Makes a user, or changes its rules.")
        .cost("O(N) with N being the number of rules given")
        .args("username [rule*]")
        .tips(EVERYWHERE),
    admin(Id::AclUsers, "acl|users", 2, "6.0.0")
        .about("Lists the names of all users.")
        .cost("O(N) with N being the number of users"),
    acl(Id::AclWhoami, "acl|whoami", 2, NOSCRIPT, "6.0.0").about("Tells the user of the connection."),
];
