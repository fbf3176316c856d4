//! Stories of hosts, and random small clusters beside all assignments that there are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// `hosts`: for each candidate its host. `shards`: leader, then the other members.
fn situation(hosts: &[&str], shards: &[&[usize]]) -> Situation {
    let candidate = |(number, host): (usize, &&str)| Candidate {
        name: format!("n{number}"),
        host: (*host).to_owned(),
        zone: None,
        weight: 1,
        unfit: None,
    };
    let shard = |(number, members): (usize, &&[usize])| LedShard {
        name: format!("s{number}"),
        leader: members.first().copied(),
        members: members.to_vec(),
        heirs: members[1..].to_vec(),
        held: None,
        writes: 0,
    };
    Situation {
        candidates: hosts.iter().enumerate().map(candidate).collect(),
        shards: shards.iter().enumerate().map(shard).collect(),
    }
}

/// `host before->after/share` for each host, then the transfers.
fn story(situation: &Situation) -> String {
    story_of(situation, &Placement::of(situation, Weigh::Leaders))
}

fn story_of(situation: &Situation, placement: &Placement) -> String {
    let host = |h: &HostShare| format!("{} {}->{}/{}", h.host, h.leaders, h.leaders_after, h.share);
    let island = |island: &Island| island.hosts.iter().map(host).collect::<Vec<_>>().join(", ");
    let islands: Vec<_> = placement.islands.iter().map(island).collect();
    let name = |number: usize| &situation.candidates[number].name;
    let moved = |t: &Transfer| format!("{} {}-{}", situation.shards[t.shard].name, name(t.from), name(t.to));
    let moved: Vec<_> = placement.transfers.iter().map(moved).collect();
    format!("{}: {}", islands.join(" | "), moved.join(", "))
}

const ABC: &[&str] = &["a", "b", "c"];

#[test]
fn leaders_that_crowd_are_spread_and_ties_stay() {
    let crowd = vec![&[0, 1, 2][..]; 30];
    let placement = Placement::of(&situation(ABC, &crowd), Weigh::Leaders);
    assert_eq!(placement.transfers.len(), 20);
    let after: Vec<_> = placement.islands[0].hosts.iter().map(|host| host.leaders_after).collect();
    assert_eq!((after, placement.islands[0].excess), (vec![10, 10, 10], 20));
    // Rounded up: nobody has to give.
    let fair = situation(ABC, &[&[0, 1, 2], &[0, 1, 2], &[1, 0, 2], &[2, 0, 1]]);
    assert_eq!(story(&fair), "a 2->2/2, b 1->1/2, c 1->1/2: ");
    assert_eq!(story(&situation(ABC, &[&[0, 1, 2], &[0, 1, 2]])), "a 2->1/1, b 0->1/1, c 0->0/1: s0 n0-n1");
}

#[test]
fn who_shares_nothing_gives_through_others_and_room_is_made_first() {
    // a and b share, b and c share, a and c do not.
    let chain = situation(ABC, &[&[0, 1], &[0, 1], &[1, 2]]);
    assert_eq!(story(&chain), "a 2->1/1, b 1->1/1, c 0->1/1: s2 n1-n2, s0 n0-n1");
}

#[test]
fn islands_are_balanced_each_on_its_own() {
    let two = situation(&["a", "b", "c", "d"], &[&[0, 1], &[0, 1], &[2, 3]]);
    assert_eq!(story(&two), "a 2->1/1, b 0->1/1 | c 1->1/1, d 0->0/1: s0 n0-n1");
    // Another process of the host joins them.
    let one = situation(&["a", "b", "b", "d"], &[&[0, 1], &[0, 1], &[2, 3]]);
    assert_eq!(story(&one), "a 2->1/1, b 1->1/1, d 0->1/1: s2 n2-n3, s0 n0-n1");
}

#[test]
fn what_nobody_else_can_lead_is_divided_over_those_who_can() {
    // Eight shards of a and b alone, one of a and c.
    let mut shards = vec![&[0, 1][..]; 8];
    shards.push(&[2, 0]);
    assert_eq!(story(&situation(ABC, &shards)).split(':').next(), Some("a 8->4/4, b 0->4/4, c 1->1/3"));
    let alone = situation(ABC, &[&[0], &[0], &[0], &[0, 1], &[1, 2], &[1, 2]]);
    assert_eq!(story(&alone), "a 4->3/3, b 2->2/2, c 0->1/2: s4 n1-n2, s3 n0-n1");
}

#[test]
fn who_is_dead_evicted_or_behind_gets_nothing() {
    let crowd = [&[0, 1, 2][..], &[0, 1, 2], &[0, 1, 2], &[0, 1, 2]];
    let with = |unfit: &[(usize, Unfit)]| {
        let mut situation = situation(ABC, &crowd);
        unfit.iter().for_each(|(number, unfit)| situation.candidates[*number].unfit = Some(*unfit));
        story(&situation)
    };
    assert_eq!(with(&[(2, Unfit::Silent)]), "a 4->2/2, b 0->2/2, c 0->0/0: s0 n0-n1, s1 n0-n1");
    assert_eq!(with(&[(1, Unfit::CatchingUp), (2, Unfit::Evicted)]), "a 4->4/4, b 0->0/0, c 0->0/0: ");
    assert_eq!(with(&[(0, Unfit::CatchingUp)]), "a 4->2/2, b 0->1/2, c 0->1/2: s0 n0-n1, s1 n0-n2");
    let all_leave = "a 4->0/0, b 0->2/2, c 0->2/2: s0 n0-n1, s1 n0-n2, s2 n0-n1, s3 n0-n2";
    assert_eq!(with(&[(0, Unfit::Evicted)]), all_leave);
    assert_eq!(
        with(&[(0, Unfit::WrongClock), (1, Unfit::Silent), (2, Unfit::Silent)]),
        "a 4->4/0, b 0->0/0, c 0->0/0: "
    );
    // A replica that is out of step, on a node that is well.
    let mut lagging = situation(ABC, &crowd);
    lagging.shards.iter_mut().for_each(|shard| shard.heirs = vec![1]);
    assert_eq!(story(&lagging), "a 4->2/2, b 0->2/2, c 0->0/0: s0 n0-n1, s1 n0-n1");
    // One that must stay counts where it is.
    let mut held = situation(ABC, &crowd);
    held.shards[..3].iter_mut().for_each(|shard| shard.held = Some("slots move".to_owned()));
    assert_eq!(story(&held), "a 4->3/3, b 0->1/2, c 0->0/2: s3 n0-n1");
    let mut nobody = situation(ABC, &crowd);
    nobody.shards.iter_mut().for_each(|shard| shard.leader = None);
    assert_eq!(story(&nobody), "a 0->0/0, b 0->0/0, c 0->0/0: ");
}

#[test]
fn weights_divide_and_a_weight_of_nothing_leads_nothing() {
    let mut unequal = situation(ABC, &[&[0, 1, 2][..]; 8]);
    (0..3).for_each(|number| unequal.candidates[number].weight = [1, 2, 1][number]);
    assert_eq!(story(&unequal).split(':').next(), Some("a 8->2/2, b 0->4/4, c 0->2/2"));
    unequal.candidates[0].weight = 0;
    assert_eq!(story(&unequal).split(':').next(), Some("a 8->0/0, b 0->5/6, c 0->3/3"));
}

#[test]
fn of_the_candidates_of_a_host_the_one_that_leads_least_is_taken() {
    let hosts = ["a", "b", "b"];
    let spread = situation(&hosts, &[&[0, 1, 2], &[0, 1, 2], &[0, 1, 2], &[0, 1, 2]]);
    assert_eq!(story(&spread), "a 4->2/2, b 0->2/2: s0 n0-n1, s1 n0-n2");
    // From an evicted one to its neighbour is a transfer too.
    let mut evicted = situation(&["a", "a"], &[&[0, 1]]);
    evicted.candidates[0].unfit = Some(Unfit::Evicted);
    assert_eq!(story(&evicted), "a 1->1/1: s0 n0-n1");
}

/// A cluster of `hosts` hosts, each shard on three of them, all leaders on the first of each.
fn large(hosts: usize, shards: usize) -> Situation {
    let names: Vec<String> = (0..hosts).map(|number| format!("h{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Squares: some hosts lead much, and what they share goes round in chains.
    let members = |n: usize| vec![(n * n) % (hosts / 4), (n * 7 + 1) % hosts, (n * 13 + 2) % hosts];
    let members: Vec<Vec<usize>> = (0..shards)
        .map(members)
        .map(|mut members| {
            let mut seen = std::collections::BTreeSet::new();
            members.retain(|member| seen.insert(*member));
            members
        })
        .collect();
    situation(&names, &members.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[test]
fn a_large_cluster_takes_no_time() {
    let situation = large(100, 1_000);
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
    let began = std::time::Instant::now();
    let placement = Placement::of(&situation, Weigh::Leaders);
    let took = began.elapsed();
    let island = &placement.islands[0];
    assert_eq!((placement.islands.len(), island.hosts.len()), (1, 100));
    assert!(island.excess > 600 && island.hosts.iter().all(|host| host.leaders_after <= host.share), "{island:?}");
    assert!(island.hosts.iter().all(|host| host.share == 10));
    // Without optimization; `benches/balance.rs` has the real figure.
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}

/// All assignments of leaders, each as the host of each shard.
fn assignments(situation: &Situation) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for shard in &situation.shards {
        let leader = shard.leader.expect("all are led");
        let able = |heir: &&usize| shard.held.is_none() && situation.candidates[**heir].unfit.is_none();
        let ways: Vec<usize> = std::iter::once(&leader).chain(shard.heirs.iter().filter(able)).copied().collect();
        all = all.iter().flat_map(|before| ways.iter().map(|way| [before.as_slice(), &[*way]].concat())).collect();
    }
    all
}

/// The same situation after these transfers.
fn after(situation: &Situation, transfers: &[Transfer]) -> Situation {
    let mut after = situation.clone();
    for transfer in transfers {
        let shard = &mut after.shards[transfer.shard];
        assert_eq!(shard.leader, Some(transfer.from));
        assert!(shard.held.is_none() && shard.heirs.contains(&transfer.to));
        shard.heirs.retain(|heir| *heir != transfer.to);
        shard.heirs.push(transfer.from);
        shard.leader = Some(transfer.to);
    }
    after
}

prop_compose! {
    fn any_situation()(
        unfit in prop::collection::vec(0..8_u8, 4),
        shards in prop::collection::vec((0..4_usize, prop::collection::btree_set(0..4_usize, 0..4), 0..10_u8, 0..2_000_u64), 1..7),
    ) -> Situation {
        let members: Vec<Vec<usize>> = shards
            .iter()
            .map(|(leader, others, ..)| std::iter::once(*leader).chain(others.iter().copied().filter(|o| o != leader)).collect())
            .collect();
        let mut situation = situation(&["a", "b", "c", "d"], &members.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (candidate, kind) in situation.candidates.iter_mut().zip(unfit) {
            candidate.unfit = [Some(Unfit::Silent), Some(Unfit::CatchingUp)].get(usize::from(kind)).copied().flatten();
        }
        for (shard, (.., held, writes)) in situation.shards.iter_mut().zip(shards) {
            shard.held = (held == 0).then(|| "moving".to_owned());
            shard.writes = writes;
        }
        situation
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_assignment_is_fair_by_fewer_transfers(situation in any_situation()) {
        let placement = Placement::of(&situation, Weigh::Leaders);
        let all = assignments(&situation);
        let loads = |leaders: &[usize]| {
            let mut loads: BTreeMap<usize, u64> = BTreeMap::new();
            leaders.iter().for_each(|leader| *loads.entry(*leader).or_default() += 1);
            loads
        };
        let share: BTreeMap<String, u64> =
            placement.islands.iter().flat_map(|i| &i.hosts).map(|host| (host.host.clone(), host.share)).collect();
        let fair = |leaders: &[usize]| {
            loads(leaders).iter().all(|(number, load)| *load <= share[&situation.candidates[*number].host])
        };
        let changed = |leaders: &[usize]| {
            leaders.iter().zip(&situation.shards).filter(|(leader, shard)| shard.leader != Some(**leader)).count()
        };
        let fewest = all.iter().filter(|leaders| fair(leaders)).map(|leaders| changed(leaders)).min();
        prop_assert_eq!(Some(placement.transfers.len()), fewest);
        // No island's most burdened host could have less.
        for island in &placement.islands {
            let here: Vec<usize> = (0..4).filter(|n| island.hosts.iter().any(|h| h.nodes[0] == format!("n{n}"))).collect();
            let most = |leaders: &Vec<usize>| {
                loads(leaders).iter().filter(|(number, _)| here.contains(number)).map(|(_, load)| *load).max().unwrap_or(0)
            };
            let able = |n: &&usize| situation.shards.iter().any(|shard| {
                let takes = shard.heirs.contains(n) && situation.candidates[**n].unfit.is_none();
                shard.leader == Some(**n) || takes
            });
            let hosts = here.iter().filter(able).count().max(1) as u64;
            let led = island.hosts.iter().map(|host| host.leaders).sum::<u64>();
            let least = all.iter().map(most).min().unwrap_or(0).max(led.div_ceil(hosts));
            let got = island.hosts.iter().map(|host| host.leaders_after).max().unwrap_or(0);
            prop_assert!(got <= least, "{got} where {least} is possible: {}", story(&situation));
        }
        // Once it is done, nothing is left to do; half done, only the rest.
        let done = after(&situation, &placement.transfers);
        prop_assert_eq!(Placement::of(&done, Weigh::Leaders).transfers.len(), 0);
        let half = placement.transfers.len() / 2;
        let rest = Placement::of(&after(&situation, &placement.transfers[..half]), Weigh::Leaders);
        prop_assert_eq!(rest.transfers.len(), placement.transfers.len() - half);
    }

    #[test]
    fn by_writes_nothing_gets_worse_and_what_is_done_is_left_alone(mut situation in any_situation()) {
        // One that may keep what it leads and take no more counts no more when it leads nothing.
        situation.candidates.iter_mut().for_each(|candidate| candidate.unfit = None);
        let placement = Placement::of(&situation, Weigh::Writes);
        let most = |of: fn(&HostShare) -> u64| placement.islands.iter().flat_map(|i| &i.hosts).map(of).max().unwrap_or(0);
        let written: u64 = situation.shards.iter().map(|shard| shard.writes).sum();
        if written > 1_000 {
            // What a leader weighs that nobody writes to may come on top.
            prop_assert!(most(|h| h.writes_after) <= most(|h| h.writes) + written / 10);
        }
        let done = after(&situation, &placement.transfers);
        prop_assert_eq!(Placement::of(&done, Weigh::Writes).transfers.len(), 0, "{}", story_of(&situation, &placement));
    }
}

#[test]
fn by_writes_the_busy_part_from_each_other() {
    let mut busy = situation(&["a", "b"], &[&[0, 1], &[0, 1], &[1, 0], &[1, 0]]);
    for (shard, writes) in busy.shards.iter_mut().zip([1_000, 1_000, 10, 10]) {
        shard.writes = writes;
    }
    assert_eq!(story(&busy), "a 2->2/2, b 2->2/2: ", "by number there is nothing to do");
    let placement = Placement::of(&busy, Weigh::Writes);
    let hosts = &placement.islands[0].hosts;
    assert_eq!((hosts[0].writes, hosts[0].writes_after, hosts[1].writes_after), (2_000, 1_000, 1_020));
    assert_eq!(placement.transfers.len(), 1, "{placement:?}");
    // Through a third, which passes on another.
    let mut chain = situation(ABC, &[&[0, 1], &[0, 1], &[1, 2]]);
    chain.shards.iter_mut().for_each(|shard| shard.writes = 500);
    assert_eq!(
        story_of(&chain, &Placement::of(&chain, Weigh::Writes)),
        "a 2->1/1, b 1->1/1, c 0->1/1: s2 n1-n2, s0 n0-n1"
    );
    // Nobody writes: by number.
    chain.shards.iter_mut().for_each(|shard| shard.writes = 1);
    assert_eq!(Placement::of(&chain, Weigh::Writes), Placement::of(&chain, Weigh::Leaders));
    // One that is busier than all others together stays where it is.
    let mut giant = situation(&["a", "b"], &[&[0, 1], &[1, 0], &[1, 0]]);
    giant.shards.iter_mut().zip([10_000, 10, 10]).for_each(|(shard, writes)| shard.writes = writes);
    assert_eq!(Placement::of(&giant, Weigh::Writes).transfers, []);
}
