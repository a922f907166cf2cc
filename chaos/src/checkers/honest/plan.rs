//! Plans with a bit of everything. Invariant: a plan follows from its seed.

use policies::money::Money;

use super::Dice;
use crate::fault::{ActorEffect, DiskEffect, Fault, Hits, Loss, PlatformEffect, Point, ProviderEffect};
use crate::plan::{Approval, Arrival, Plan, Planned, Platform, Workload};

const DURATION_MS: u64 = 120_000;
const QUIET_MS: u64 = 900_000;
/// Enough for all runs, and enough for a few calls only.
const BUDGETS: [u64; 2] = [20_000_000, 1_500_000];

pub(crate) fn plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let arrivals = (0..3 + dice.below(4))
        .map(|number| Arrival { at_ms: dice.below(DURATION_MS / 2), key: format!("order-{number}") })
        .collect();
    let approval = if dice.once_in(2) { Approval::Ask } else { Approval::Automatic };
    let platform = if dice.once_in(2) { Platform::Careless } else { Platform::Careful };
    let budget = BUDGETS[usize::from(dice.once_in(4))];
    let mut faults = Vec::new();
    for _ in 0..dice.below(4) {
        crash(&mut dice, &mut faults);
    }
    if dice.once_in(2) {
        let effect = ProviderEffect::Status { status: 503, retry_after_ms: None };
        faults.push((dice.below(DURATION_MS / 2), Fault::Provider { effect, hits: hits(&mut dice, 60_000) }));
    }
    if dice.once_in(4) {
        faults.push((
            dice.below(DURATION_MS),
            Fault::Provider { effect: ProviderEffect::Lost, hits: hits(&mut dice, 9_000) },
        ));
    }
    if dice.once_in(4) {
        let effect = ProviderEffect::Poison;
        faults.push((dice.below(DURATION_MS / 2), Fault::Provider { effect, hits: hits(&mut dice, 9_000) }));
    }
    if dice.once_in(2) {
        let effect = PlatformEffect::Lost;
        faults.push((dice.below(DURATION_MS / 2), Fault::Platform { effect, hits: hits(&mut dice, 60_000) }));
    }
    if dice.once_in(3) {
        let effect = DiskEffect::Full { for_ms: 1_000 + dice.below(20_000) };
        faults.push((dice.below(DURATION_MS / 2), Fault::Disk { effect }));
    }
    if dice.once_in(3) {
        actors(&mut dice, &mut faults);
    }
    if dice.once_in(4) {
        faults.push((dice.below(DURATION_MS), Fault::Clock { by_ms: -60_000 }));
    }
    faults.sort_by_key(|(at_ms, _)| *at_ms);
    Plan {
        experiment: "honest".to_owned(),
        seed,
        workload: Workload {
            arrivals,
            approval,
            budget: Some(Money::from_nanos(budget)),
            cost_max: None,
            platform,
            stand_in: false,
        },
        duration_ms: DURATION_MS,
        quiet_ms: QUIET_MS,
        yields: true,
        faults: (0..).zip(faults).map(|(number, (at_ms, fault))| Planned { number, at_ms, fault }).collect(),
    }
}

fn crash(dice: &mut Dice, faults: &mut Vec<(u64, Fault)>) {
    let at_ms = dice.below(DURATION_MS);
    let point = [None, Some(Point::PostAfterSend), Some(Point::SyncBefore)][dice.below(3) as usize];
    faults.push((at_ms, Fault::Crash { point, nth: 1, loss: Loss::LoseUnsynced }));
    if dice.once_in(3) {
        faults.push((at_ms + dice.below(300), Fault::Crash { point: None, nth: 1, loss: Loss::Torn }));
    }
}

fn actors(dice: &mut Dice, faults: &mut Vec<(u64, Fault)>) {
    let at_ms = dice.below(DURATION_MS / 2);
    for number in 0..1 + dice.below(14) {
        let effect = if dice.once_in(2) { ActorEffect::Kill } else { ActorEffect::Panic };
        faults.push((at_ms + number * 500, Fault::Actor { target: "writer".to_owned(), effect }));
    }
}

fn hits(dice: &mut Dice, for_ms: u64) -> Hits {
    Hits { for_ms: 1_000 + dice.below(for_ms), p: 1.0, count_max: None }
}
