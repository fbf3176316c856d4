//! Both trees against a plain vector, and what a copy costs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn name(number: u16) -> Vec<u8> {
    // Every seventh member is a large one.
    if number.is_multiple_of(7) { format!("{number:0300}") } else { format!("m{number}") }.into_bytes()
}

/// The members of a model in order.
fn ordered(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(&[u8], f64)> {
    let mut members: Vec<(&[u8], f64)> = model.iter().map(|(member, score)| (member.as_slice(), *score)).collect();
    members.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then(a.0.cmp(b.0)));
    members
}

fn check(set: &SortedSet, model: &BTreeMap<Vec<u8>, f64>) {
    let bits = |(member, score): (&[u8], f64)| (member.to_vec(), score.to_bits());
    let expected: Vec<_> = ordered(model).into_iter().map(bits).collect();
    assert_eq!(set.iter().map(bits).collect::<Vec<_>>(), expected);
    assert!(set.iter().rev().map(bits).eq(expected.iter().rev().cloned()));
    assert_eq!(set.len(), model.len());
    assert_eq!(set.negative_zeros, model.values().filter(|score| is_negative_zero(**score)).count());
    for (rank, (member, score)) in ordered(model).into_iter().enumerate() {
        assert_eq!(set.rank(member).map(|(rank, score)| (rank, score.to_bits())), Some((rank, score.to_bits())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_behaves_as_a_map_with_an_order(
        steps in proptest::collection::vec((0..8_u8, 0..600_u16, -4..5_i8, any::<bool>()), 0..1500),
    ) {
        let (mut set, mut model) = (SortedSet::default(), BTreeMap::new());
        let mut frozen = None;
        for (action, number, score, fine) in steps {
            let member = name(number);
            let score = if score == 0 && fine { -0.0 } else { f64::from(score) + if fine { f64::from(number) } else { 0.0 } };
            match action {
                0 => {
                    prop_assert_eq!(set.remove(&member).map(f64::to_bits), model.remove(&member).map(f64::to_bits));
                }
                1 if number % 8 == 0 => {
                    let range = set.ranks_of_scores(&ScoreRange { min: score, without_min: false, max: score, without_max: false });
                    let range = range.start..range.end.min(range.start + 40);
                    let gone: Vec<_> = ordered(&model)[range.clone()].iter().map(|(member, _)| member.to_vec()).collect();
                    set.remove_range(range);
                    model.retain(|member, _| !gone.contains(member));
                }
                2 if number % 50 == 0 => frozen = Some((set.clone(), model.clone())),
                _ => prop_assert_eq!(set.put(&member, score), model.insert(member, score).is_none()),
            }
        }
        check(&set, &model);
        let (frozen, model) = frozen.unwrap_or_default();
        check(&frozen, &model);
        let built = SortedSet::of_ordered(&ordered(&model), true);
        check(&built, &model);
    }
}

#[test]
fn sortable_scores_are_in_order_and_come_back() {
    let scores =
        [f64::NEG_INFINITY, -1e300, -1.5, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 1.0, 1.5, 1e300, f64::INFINITY];
    assert!(scores.windows(2).all(|pair| sortable(pair[0]) < sortable(pair[1])));
    assert!(scores.iter().all(|&score| unsortable(sortable(score)) == score));
    assert_eq!(sortable(-0.0), sortable(0.0));
    assert!(sortable(f64::INFINITY) < u64::MAX);
}

#[test]
fn a_zero_loses_its_sign_where_redis_keeps_a_listpack() {
    let mut set = SortedSet::default();
    assert_eq!(set.update(b"small", |_| Some(-0.0)), Updated::Added);
    assert!(set.score(b"small").unwrap().is_sign_positive());
    set.expect(LISTPACK_ENTRIES_MAX + 1);
    assert_eq!(set.update(b"large", |_| Some(-0.0)), Updated::Added);
    assert!(set.score(b"large").unwrap().is_sign_negative());
    assert_eq!(set.update(b"large", |_| Some(0.0)), Updated::Nothing);
}

#[test]
fn ranges_of_scores_and_members_are_ranges_of_ranks() {
    let mut set = SortedSet::default();
    ["a", "b", "c", "d"].iter().for_each(|member| assert!(set.put(member.as_bytes(), 1.0)));
    let lex = |set: &SortedSet, min, max| set.ranks_of_members(&LexRange { min, max }, false);
    use LexBound::{Excluding, Highest, Including, Lowest};
    assert_eq!(lex(&set, Lowest, Highest), 0..4);
    assert_eq!(lex(&set, Including(b"b"), Excluding(b"d")), 1..3);
    assert_eq!(lex(&set, Excluding(b"b"), Including(b"cc")), 2..3);
    assert!(lex(&set, Highest, Lowest).is_empty() && lex(&set, Including(b"d"), Including(b"a")).is_empty());
    set.put(b"e", 2.0);
    set.put(b"0", 3.0);
    assert_eq!(lex(&set, Including(b"b"), Including(b"zz")), 0..0, "the last member of all is before the range");
    set.put(b"f", 4.0);
    assert_eq!(lex(&set, Including(b"b"), Including(b"zz")), 1..7);
    let scores =
        |min, without_min, max, without_max| set.ranks_of_scores(&ScoreRange { min, without_min, max, without_max });
    assert_eq!((scores(1.0, false, 3.0, false), scores(1.0, true, 3.0, true)), (0..6, 4..5));
    assert!(scores(3.0, false, 1.0, false).is_empty() && scores(1.0, true, 1.0, true).is_empty());
    assert_eq!(scores(f64::NEG_INFINITY, false, f64::INFINITY, true), 0..7);
}

#[test]
fn a_change_of_a_frozen_set_of_many_members_copies_a_few_leaves() {
    let names: Vec<String> = (0..300_000).map(|number| format!("member:{number:09}")).collect();
    let members: Vec<(&[u8], f64)> = names.iter().zip(0..).map(|(name, at)| (name.as_bytes(), f64::from(at))).collect();
    let mut set = SortedSet::of_ordered(&members, false);
    let nodes = set.members.nodes().len() + set.scores.nodes().len();
    assert!(nodes > 4_000, "{nodes} nodes");
    let copied = |set: &SortedSet, frozen: &SortedSet| {
        set.members.nodes().difference(&frozen.members.nodes()).count()
            + set.scores.nodes().difference(&frozen.scores.nodes()).count()
    };
    let frozen = set.clone();
    assert_eq!(copied(&set, &frozen), 0);
    assert!(set.put(b"new", 150_000.5));
    let added = copied(&set, &frozen);
    assert!((2..=12).contains(&added), "{added} nodes for a new member");
    set.update(b"member:000000001", |_| Some(299_999.5));
    set.remove(b"member:000200000");
    set.remove_range(0..1);
    let changed = copied(&set, &frozen);
    assert!(changed <= 40, "{changed} nodes for four changes");
    assert!(frozen.iter().eq(members));
}
