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

impl Refusal {
    /// What this error reply says, if it is one of a server that cannot answer.
    pub fn of(reply: &[u8]) -> Option<Self> {
        let text = reply.strip_prefix(b"-")?;
        let code = text.split(|byte| matches!(byte, b' ' | b'\r')).next()?;
        match code {
            b"READONLY" => Some(Self::NotLeader),
            b"LOADING" => Some(Self::Loading),
            b"MASTERDOWN" => Some(Self::LeaderDown),
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
