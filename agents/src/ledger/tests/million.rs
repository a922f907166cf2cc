//! The storm of the bench `reservations`, with fewer clients: nothing is ever over, and nothing leaks.

use crate::ledger;

#[path = "../../../benches/reservations/storm.rs"]
mod storm;

use storm::Plan;

#[test]
fn no_storm_of_clients_failures_and_restarts_passes_a_limit_or_leaks() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for seed in [1, 2] {
        let plan = Plan { reservations: 20_000, clients: 256, restarts: 7, audited: true, seed };
        let outcome = runtime.block_on(storm::storm(plan));
        assert_eq!(outcome.faults, [""; 0]);
        let counts = [outcome.refused, outcome.failed, outcome.given_up, outcome.vanished];
        assert!(counts.iter().all(|count| *count > 100), "every way out was taken: {outcome:?}");
        assert_eq!((outcome.granted + outcome.refused, outcome.restarts), (20_000, 8), "{outcome:?}");
        assert_eq!(outcome.settled + outcome.given_up + outcome.vanished + outcome.void, outcome.granted);
    }
}
