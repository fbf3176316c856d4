//! What an error reply of a server says about the server, and not about the request.

/// Why a server did not carry a request out. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is a replica: the request is for the leader.
    NotLeader,
    /// It is loading its data.
    Loading,
    /// It is a replica without its leader, and is told not to answer then.
    LeaderDown,
    /// It is a node of a Redis Cluster, which no such file can name.
    Cluster,
}

const READ_ONLY: &[u8] = b"READONLY You can't write against a read only";
/// Redis, Valkey and others say their names before it.
const LOADING: &[u8] = b"is loading the dataset in memory";
const LEADER_DOWN: &[u8] = b"MASTERDOWN Link with MASTER is down";

fn find(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

impl Refusal {
    /// What a replica says to a write.
    pub const READ_ONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";

    /// What this error reply says, if it is one of a server that cannot answer.
    pub fn of(reply: &[u8]) -> Option<Self> {
        let text = reply.strip_prefix(b"-")?;
        let code = text.split(|byte| matches!(byte, b' ' | b'\r')).next()?;
        // A script that did something may end with an error of the same code: the servers' own words count.
        match code {
            b"READONLY" => text.starts_with(READ_ONLY).then_some(Self::NotLeader),
            b"LOADING" => find(text, LOADING).then_some(Self::Loading),
            b"MASTERDOWN" => text.starts_with(LEADER_DOWN).then_some(Self::LeaderDown),
            b"MOVED" | b"ASK" | b"CLUSTERDOWN" => Some(Self::Cluster),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_about_the_server_are_refusals() {
        for (reply, refusal) in [
            ("-READONLY You can't write against a read only replica.\r\n", Some(Refusal::NotLeader)),
            ("-LOADING Redis is loading the dataset in memory\r\n", Some(Refusal::Loading)),
            ("-MASTERDOWN Link with MASTER is down\r\n", Some(Refusal::LeaderDown)),
            ("-MOVED 1 127.0.0.1:1\r\n", Some(Refusal::Cluster)),
            ("-CLUSTERDOWN Hash slot not served\r\n", Some(Refusal::Cluster)),
            ("-READONLY maintenance, says a script\r\n", None),
            ("-LOADING Valkey is loading the dataset in memory\r\n", Some(Refusal::Loading)),
            ("-LOADING dock is full\r\n", None),
            ("-ERR READONLY\r\n", None),
            ("-READONLYX\r\n", None),
            ("-WRONGTYPE no\r\n", None),
            ("+READONLY\r\n", None),
            ("-\r\n", None),
        ] {
            assert_eq!(Refusal::of(reply.as_bytes()), refusal, "{reply}");
        }
    }
}
