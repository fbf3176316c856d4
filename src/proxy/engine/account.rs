//! What a proxy tells nodes about itself, for `pontoon status`: who it is, and why its file is not what is accepted.
//!
//! Told after each welcome and again when it changes, over every connection, so that a node that answers an operator knows it, whichever
//! it is. Nothing is decided by it.

use super::Engine;
use super::link::Stage;
use crate::control::routing::NodeIndex;
use crate::protocol::control::ProxyReport;
use crate::protocol::frame::{Kind, put_message};

impl Engine {
    /// Says who this is to a node that has just said who it is.
    pub(super) fn introduce(&mut self, node: NodeIndex) {
        let facts = &self.process.constant;
        let report = ProxyReport {
            name: self.settings.name.clone(),
            run_id: facts.run_id.clone(),
            from: None,
            port: facts.port,
            file_trouble: self.told_trouble.clone(),
        };
        let json = serde_json::to_vec(&report).expect("a report is plain data");
        self.links[node.at()].outbox.put_with(|out| put_message(out, Kind::Proxy, |out| out.extend_from_slice(&json)));
        self.mark_node(node);
    }

    /// Tells all nodes what has changed since.
    pub(super) fn tell_trouble(&mut self) {
        let mut trouble = self.process.file_trouble();
        if let Some(reason) = &mut trouble {
            let most = reason.len().min(ProxyReport::REASON_BYTES_MAX);
            reason.truncate((0..=most).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0));
        }
        if trouble == self.told_trouble {
            return;
        }
        self.told_trouble = trouble;
        for index in 0..self.links.len() as u32 {
            if self.links[index as usize].stage == Stage::Open {
                self.introduce(NodeIndex(index));
            }
        }
    }
}
