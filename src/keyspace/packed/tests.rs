//! The tree against a plain vector and a plain map.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

type Sequence = Packed<0, 1>;
type Map = Packed<4, 2>;

/// Elements of all sizes: tiny, around the inline limit, large.
fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..12),
        2 => proptest::collection::vec(any::<u8>(), 60..70),
        1 => proptest::collection::vec(any::<u8>(), 250..260),
        1 => Just(vec![7; 5000]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, Vec<u8>),
    PushMany(bool, usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    Replace(usize, Vec<u8>),
    Freeze,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<usize>(), element()).prop_map(|(at, e)| Step::Insert(at, e)),
        2 => (any::<bool>(), 0..3000_usize, element()).prop_map(|(front, n, e)| Step::PushMany(front, n, e)),
        4 => any::<usize>().prop_map(Step::Remove),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::RemoveRange(a, b)),
        2 => (any::<usize>(), element()).prop_map(|(at, e)| Step::Replace(at, e)),
        1 => Just(Step::Freeze),
    ];
    proptest::collection::vec(step, 0..40)
}

fn check(tree: &Sequence, model: &[Vec<u8>]) {
    assert_eq!(tree.len(), model.len());
    assert!(tree.iter().map(|item| item.part(0)).eq(model.iter().map(Vec::as_slice)));
    assert!(tree.iter().rev().map(|item| item.part(0)).eq(model.iter().rev().map(Vec::as_slice)));
    let bytes: u64 = model.iter().map(|element| element.len() as u64 + 1).sum();
    assert_eq!(tree.bytes, bytes);
    if let Some(root) = &tree.root {
        assert_eq!(check_node(root, true).0, model.len());
    }
}

/// Count and depth of a subtree, with everything in it checked.
fn check_node(node: &Node, is_root: bool) -> (usize, usize) {
    match node {
        Node::Leaf(leaf) => {
            assert!(is_root || leaf.len() > 0);
            (leaf.len(), 0)
        }
        Node::Inner(children) => {
            assert!((1..=CHILDREN_MAX).contains(&children.len()));
            let below: Vec<_> = children.iter().map(|child| check_node(&child.node, false)).collect();
            assert!(children.iter().zip(&below).all(|(child, (count, _))| child.count == *count));
            assert!(below.iter().all(|(_, depth)| *depth == below[0].1));
            (below.iter().map(|(count, _)| count).sum(), below[0].1 + 1)
        }
    }
}

/// Every child's low is between the prefixes on its two sides.
fn check_lows<const PREFIX: usize, const PARTS: usize>(tree: &Packed<PREFIX, PARTS>, node: &Node, start: usize) {
    let Node::Inner(children) = node else { return };
    let mut start = start;
    for (at, child) in children.iter().enumerate() {
        let prefix = |index: usize| tree.get(index).unwrap().prefix();
        assert!(child.low <= prefix(start));
        assert!(at == 0 || prefix(start - 1) <= child.low);
        check_lows(tree, &child.node, start);
        start += child.count;
    }
}

impl<const PREFIX: usize, const PARTS: usize> Packed<PREFIX, PARTS> {
    /// The addresses of all nodes: what two trees share has the same.
    pub fn nodes(&self) -> BTreeSet<usize> {
        fn visit(node: &Node, found: &mut BTreeSet<usize>) {
            match node {
                Node::Leaf(leaf) => found.insert(Arc::as_ptr(leaf) as usize),
                Node::Inner(children) => {
                    children.iter().for_each(|child| visit(&child.node, found));
                    found.insert(Arc::as_ptr(children) as usize)
                }
            };
        }
        let mut found = BTreeSet::new();
        self.root.iter().for_each(|root| visit(root, &mut found));
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sequence_behaves_as_a_vector_and_frozen_copies_never_change(steps in steps()) {
        let (mut tree, mut model) = (Sequence::default(), Vec::<Vec<u8>>::new());
        let mut frozen = Vec::new();
        for step in steps {
            match step {
                Step::Insert(at, element) => {
                    let at = at % (model.len() + 1);
                    tree.insert(at, 0, &[element.as_slice().into()]);
                    model.insert(at, element);
                }
                Step::PushMany(front, count, element) => {
                    for _ in 0..count {
                        let at = if front { 0 } else { model.len() };
                        tree.insert(at, 0, &[element.as_slice().into()]);
                        model.insert(at, element.clone());
                    }
                }
                Step::Remove(at) if !model.is_empty() => {
                    let at = at % model.len();
                    tree.remove(at);
                    model.remove(at);
                }
                Step::RemoveRange(a, b) => {
                    let (a, b) = (a % (model.len() + 1), b % (model.len() + 1));
                    tree.remove_range(a.min(b)..a.max(b));
                    model.drain(a.min(b)..a.max(b));
                }
                Step::Replace(at, element) if !model.is_empty() => {
                    let at = at % model.len();
                    tree.replace(at, 0, &[element.as_slice().into()]);
                    model[at] = element;
                }
                Step::Freeze => frozen.push((tree.clone(), model.clone())),
                _ => {}
            }
        }
        check(&tree, &model);
        for probe in [0, model.len() / 3, model.len()] {
            prop_assert_eq!(tree.get(probe).map(|item| item.part(0).to_vec()), model.get(probe).cloned());
            let tail: Vec<_> = tree.iter_from(probe).map(|item| item.part(0).to_vec()).collect();
            prop_assert_eq!(&tail, &model[probe..]);
        }
        for (tree, model) in frozen {
            check(&tree, &model);
        }
    }

    #[test]
    fn an_ordered_tree_behaves_as_a_map(
        // Few prefixes, so that many items share theirs across leaves.
        steps in proptest::collection::vec((0..4_u64, 0..400_u16, any::<bool>(), 0..3_u8), 0..3000),
    ) {
        let (mut tree, mut model) = (Map::default(), BTreeMap::new());
        for (prefix, name, remove, size) in steps {
            let name = format!("{name:0>width$}", width = usize::from(size) * 130).into_bytes();
            if remove {
                prop_assert_eq!(tree.remove_found(prefix, &name), model.remove(&(prefix, name)).is_some());
            } else {
                let new = model.insert((prefix, name.clone()), size).is_none();
                prop_assert_eq!(tree.put(prefix, &[name.as_slice().into(), [size].as_slice().into()]), new);
            }
        }
        tree.root.iter().for_each(|root| check_lows(&tree, root, 0));
        let items: Vec<_> = tree.iter().map(|item| ((item.prefix(), item.part(0).to_vec()), item.part(1)[0])).collect();
        prop_assert!(items.iter().cloned().eq(model.clone()));
        for (rank, (key, value)) in items.iter().enumerate() {
            prop_assert_eq!(tree.search(key.0, &key.1), Ok(rank));
            prop_assert_eq!(tree.find(key.0, &key.1).map(|item| item.part(1).to_vec()), Some(vec![*value]));
        }
        for prefix in 0..5 {
            prop_assert_eq!(tree.search(prefix, b""), Err(model.range(..(prefix, vec![])).count()));
        }
    }
}

#[test]
fn queues_and_ordered_loads_fill_their_leaves() {
    let mut tree = Sequence::default();
    let before = 100_000;
    for number in 0..before {
        let text = format!("element:{number}");
        tree.insert(if number % 2 == 0 { 0 } else { tree.len() }, 0, &[text.as_bytes().into()]);
    }
    let leaves = |node: &Node| -> usize {
        fn count(node: &Node) -> usize {
            match node {
                Node::Leaf(_) => 1,
                Node::Inner(children) => children.iter().map(|child| count(&child.node)).sum(),
            }
        }
        count(node)
    };
    let leaves = leaves(tree.root.as_ref().unwrap());
    assert!(leaves <= before / 128 + 4, "{leaves} leaves");
}

#[test]
fn a_large_part_is_shared_by_the_trees_that_hold_it() {
    let (mut members, mut scores) = (Map::default(), Packed::<8, 1>::default());
    members.put(1, &[[b'x'; 10_000].as_slice().into(), b"1".as_slice().into()]);
    scores.put(5, &[members.get(0).unwrap().share(0)]);
    let copy = scores.clone();
    assert_eq!(members.get(0).unwrap().part(0).as_ptr(), copy.get(0).unwrap().part(0).as_ptr());
}

#[test]
fn an_item_is_found_again_before_a_leaf_that_lost_its_first_items() {
    let mut tree = Map::default();
    let parts = |name: &'static str| [name.as_bytes().into(), b"v".as_slice().into()];
    let number = |n: u16| format!("{n:03}").into_bytes();
    for n in 0..300 {
        tree.put(1, &[number(n).as_slice().into(), b"v".as_slice().into()]);
    }
    tree.put(2, &parts("y"));
    // The last leaf keeps nothing but what begins with 2, and the first has room again.
    (128..300).chain([0]).for_each(|n| assert!(tree.remove_found(1, &number(n))));
    assert!(tree.put(2, &parts("x")));
    assert!(!tree.put(2, &parts("x")), "it is there already");
    assert!(tree.remove_found(2, b"x") && tree.remove_found(2, b"y"));
}

#[test]
fn an_item_between_two_children_is_found_again() {
    let mut tree = Packed::<4, 1>::default();
    for prefix in 0..20_000_u64 {
        tree.put(prefix * 10, &[b"x".as_slice().into()]);
    }
    // The first item of some children goes, and one comes back that lies between what is left of them.
    for start in 0..20_000_u64 {
        assert!(tree.remove_found(start * 10, b"x"));
        assert!(tree.put(start * 10 + 3, &[b"x".as_slice().into()]), "{start}");
        assert!(tree.find(start * 10 + 3, b"x").is_some(), "{start}");
    }
    check_lows(&tree, tree.root.as_ref().unwrap(), 0);
}

#[test]
fn a_search_for_what_two_trees_share_costs_little_and_is_paid_for() {
    let of = |items: usize| {
        let mut tree = Sequence::default();
        (0..items).for_each(|n| tree.push(0, &[format!("{n:08}").as_bytes().into()]));
        tree
    };
    let (base, apart) = (of(200_000), of(200_000));
    let mut visits = 1_000_000;
    let (end, base_end) = apart.next_shared(3, &base, 5, &mut visits);
    let paid = 1_000_000 - visits;
    assert!((100..3000).contains(&paid), "{paid}");
    assert!(end > 1000 && end < 100_000 && base_end > 1000 && base_end < 100_000, "{end} {base_end}");
    let mut longer = base.clone();
    (0..2000).for_each(|_| longer.insert(0, 0, &[b"more".as_slice().into()]));
    let mut visits = 1_000_000;
    let (end, base_end) = longer.next_shared(0, &base, 0, &mut visits);
    assert_eq!(end - base_end, 2000);
    assert!(visits < 1_000_000 - 10 && base_end < 200, "{visits} {base_end}");
    assert_eq!(base.next_shared(200_000, &base, 199_999, &mut 0), (200_000, 200_000));
}
