//! What a `shards.toml` says of where leaders are to be: `[balance]`, and `host` and `weight` of a node.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use super::parse::{Reader, Section, shown};
use super::{NODE_WEIGHT_MAX, check_name};
use crate::topology::balance::Weigh;

const BALANCE_KEYS: [&str; 2] = ["auto", "weigh"];

/// `[balance]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceConfig {
    /// Whether the cluster spreads its leaders by itself.
    pub auto: bool,
    /// What counts.
    pub weigh: Weigh,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self { auto: true, weigh: Weigh::Leaders }
    }
}

impl Reader<'_> {
    pub(super) fn balance(&mut self, root: &Section<'_>) -> BalanceConfig {
        let mut balance = BalanceConfig::default();
        let Some(value) = root.get("balance") else { return balance };
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(value, "balance", "a table, `[balance]`");
            return balance;
        };
        let section = Section { what: "[balance]", known: &BALANCE_KEYS, start: value.span().start, table };
        self.unknown_keys(&section);
        if let Some(value) = section.get("auto") {
            match value.get_ref() {
                DeValue::Boolean(auto) => balance.auto = *auto,
                _ => self.wrong_type(value, "auto", "a boolean"),
            }
        }
        if let Some(word) = section.get("weigh").and_then(|value| self.word(value, "weigh")) {
            match [Weigh::Leaders, Weigh::Writes].into_iter().find(|weigh| weigh.name() == word.text) {
                Some(weigh) => balance.weigh = weigh,
                None => self.broken(
                    word.start,
                    format!(
                        "`weigh` is `leaders` (how many) or `writes` (what is written to them), not `{}`",
                        shown(word.text)
                    ),
                ),
            }
        }
        balance
    }

    /// The machine that a node runs on, where that is not what its address says.
    pub(super) fn host(&mut self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let word = self.word(value, "host")?;
        if let Err(rule) = check_name(word.text) {
            self.broken(word.start, format!("host `{}`: {rule}", shown(word.text)));
        }
        Some(word.text.to_owned())
    }

    pub(super) fn node_weight(&mut self, section: &Section<'_>) -> u32 {
        let weight = section.get("weight");
        let weight = weight.and_then(|value| self.integer(value, "weight", 0..=u64::from(NODE_WEIGHT_MAX)));
        weight.map_or(1, |weight| weight as u32)
    }
}
