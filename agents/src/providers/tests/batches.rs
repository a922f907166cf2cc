//! Calls by batch: what is sent, what is found again, and what is never made twice or paid for on a guess.

use policies::failure::FailureClass;
use policies::instant::Timestamp;

use super::*;
use crate::fixture::batches::{BatchServer, Ending, Mishap};
use crate::model::{BatchCall, Billed};

/// How long the server's batches take.
const TAKES: Duration = Duration::from_secs(600);

struct Office {
    server: Arc<BatchServer>,
    model: Remote,
    world: World,
}

/// The adapters that take batches, each with where it has them.
const TAKING: [(&str, &str); 3] =
    [("anthropic", "/v1/messages/batches"), ("openai", "/v1/batches"), ("responses", "/v1/batches")];

fn office(adapter: &str, ending: Ending) -> Office {
    let world = world();
    let server = BatchServer::new(&world, TAKES, &[ending]);
    let model = Remote::new(options(adapter), &world, server.transport()).unwrap();
    Office { server, model, world }
}

impl Office {
    fn call(&self, may_be_there: bool) -> BatchCall {
        BatchCall { id: "call-1".to_owned(), since: self.world.now(), may_be_there }
    }

    async fn ask(&self, call: BatchCall) -> Result<ModelReply, ModelError> {
        self.model.call_by_batch(asking(), call).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_by_batch_is_sent_as_a_batch_and_its_own_line_is_its_reply() {
    for (adapter, place) in TAKING {
        let office = office(adapter, Ending::Succeeded);
        let reply = office.ask(office.call(false)).await.unwrap();
        assert_eq!(
            (&*reply.text(), reply.usage.input, reply.usage.output),
            ("The lamp shines.", Tokens(100), Tokens(10))
        );
        let taken = office.server.taken();
        let request = &taken[0]["requests"][0];
        assert_eq!((taken.len(), &request["custom_id"]), (1, &json!("call-1")));
        assert_eq!(request["params"]["model"], office.model.id().0.as_str());
        assert!(request["params"].to_string().contains("Announce the lamp."));
        assert!(request["params"].get("stream").is_none());
        let asked = office.server.asked();
        assert!(asked.contains(&format!("POST {place}")) && asked.contains(&format!("GET {place}/msgbatch_0")));
        assert!(asked.len() < 12, "it is looked at less and less often: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_made_is_looked_for_and_not_made_again() {
    for (adapter, _) in TAKING {
        for mishaps in [vec![Mishap::AnswerLost], vec![Mishap::AnswerLost, Mishap::Status(529), Mishap::NotSent]] {
            let office = office(adapter, Ending::Succeeded);
            office.server.take("somebody-else", json!({}));
            if adapter != "anthropic" {
                office.server.mishap(Mishap::None);
            }
            mishaps.into_iter().for_each(|mishap| office.server.mishap(mishap));
            assert_eq!(office.ask(office.call(false)).await.unwrap().text(), "The lamp shines.");
            assert_eq!(office.server.taken().len(), 2);
        }
        // A later life finds what an earlier one has made.
        let office = office(adapter, Ending::Succeeded);
        let since = office.call(true);
        let params = if adapter == "openai" { json!({ "messages": [] }) } else { json!({}) };
        office.server.take("call-1", params);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(office.ask(since).await.unwrap().text(), "The lamp shines.");
        assert_eq!(office.server.taken().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_made_is_free_once_it_cannot_land_any_more() {
    for (adapter, _) in TAKING {
        let office = office(adapter, Ending::Succeeded);
        office.server.take("somebody-else", json!({}));
        let before = office.world.elapsed();
        let error = office.ask(office.call(true)).await.unwrap_err();
        assert_eq!((error.class, error.billed), (FailureClass::ProviderDown, Billed::No));
        // Anthropic's batches do not say whose they are before they have ended.
        let least = if adapter == "anthropic" { TAKES } else { Duration::from_secs(60) };
        assert!(office.world.elapsed() - before >= least, "it may have been under way");
        office.server.mishap(Mishap::NotSent);
        let error = office.ask(office.call(false)).await.unwrap_err();
        assert_eq!((error.class, error.billed), (FailureClass::ProviderDown, Billed::No), "it is certain at once");
        assert_eq!(office.server.taken().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_lands_after_its_request_was_given_up_is_found_and_no_second_one_is_made() {
    for (adapter, _) in TAKING {
        let office = office(adapter, Ending::Succeeded);
        // The upload of a file is waited for; its batch is not made within its time.
        if adapter != "anthropic" {
            office.server.mishap(Mishap::None);
        }
        office.server.mishap(Mishap::Late);
        let land = async {
            tokio::time::sleep(Duration::from_secs(115)).await;
            assert!(office.server.taken().is_empty());
            office.server.land();
        };
        let (reply, ()) = tokio::join!(office.ask(office.call(false)), land);
        assert_eq!((&*reply.unwrap().text(), office.server.billed()), ("The lamp shines.", 1), "{adapter}");
        // A life that died a while after its intent may have sent it in its last moment.
        let office = self::office(adapter, Ending::Succeeded);
        let call = office.call(true);
        tokio::time::sleep(Duration::from_secs(200)).await;
        let land = async {
            tokio::time::sleep(Duration::from_secs(55)).await;
            let params = if adapter == "openai" { json!({ "messages": [] }) } else { json!({}) };
            office.server.take("call-1", params);
        };
        let (reply, ()) = tokio::join!(office.ask(call), land);
        assert_eq!((&*reply.unwrap().text(), office.server.taken().len()), ("The lamp shines.", 1), "{adapter}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_did_not_come_to_is_free_and_what_is_lost_in_it_is_not() {
    for (adapter, _) in TAKING {
        for (ending, class, billed) in [
            (Ending::Expired, FailureClass::ProviderDown, Billed::No),
            (Ending::Errored("invalid_request_error"), FailureClass::Rejected, Billed::No),
            (Ending::Errored("overloaded_error"), FailureClass::ProviderDown, Billed::No),
            (Ending::Lost, FailureClass::ProviderDown, Billed::Unknown),
        ] {
            let office = office(adapter, ending);
            let error = office.ask(office.call(false)).await.unwrap_err();
            assert_eq!((error.class, error.billed), (class, billed), "{ending:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_is_repeated_and_one_that_is_refused_leaves_the_call_in_doubt() {
    for (adapter, _) in TAKING {
        let office = office(adapter, Ending::Succeeded);
        let call = office.call(false);
        let asked = office.ask(call);
        let disturb = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for mishap in [Mishap::Status(500), Mishap::AnswerLost, Mishap::Status(429)] {
                office.server.mishap(mishap);
            }
        };
        let (reply, ()) = tokio::join!(asked, disturb);
        assert_eq!(reply.unwrap().text(), "The lamp shines.");
        let refuse = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            office.server.mishap(Mishap::Status(403));
        };
        let (refused, ()) = tokio::join!(office.ask(office.call(false)), refuse);
        let error = refused.unwrap_err();
        assert_eq!((error.class, error.billed), (FailureClass::Rejected, Billed::Unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_never_ends_is_given_up_and_charged() {
    let world = world();
    let server = BatchServer::new(&world, Duration::from_secs(1_000_000), &[Ending::Succeeded]);
    let model = Remote::new(options("anthropic"), &world, server.transport()).unwrap();
    for may_be_there in [false, true] {
        let call = BatchCall { id: "call-1".to_owned(), since: world.now(), may_be_there };
        server.take("somebody-else", json!({}));
        let error = model.call_by_batch(asking(), call).await.unwrap_err();
        assert_eq!(error.billed, Billed::Unknown);
    }
    let other = remote(options("compatible"), transport::unplugged());
    let call = BatchCall { id: "a".to_owned(), since: Timestamp::EPOCH, may_be_there: false };
    assert!(!other.batches());
    assert_eq!(other.call_by_batch(asking(), call).await.unwrap_err().billed, Billed::No);
}

#[tokio::test(start_paused = true)]
async fn a_talk_that_another_began_goes_on_by_batch_with_ids_that_are_taken() {
    let foreign = "functions.weather:0";
    for (adapter, _) in TAKING {
        let office = office(adapter, Ending::Succeeded);
        let call =
            ToolCall { id: foreign.to_owned(), name: "weather".to_owned(), arguments: json!({}), signature: None };
        let turn = Message::of(Role::Assistant, vec![Block::ToolCall(call)]);
        let results = Message::results([ToolResult::text(foreign, "rain")]);
        let messages = [asking().messages, vec![turn, results]].concat();
        let request = ModelRequest { messages, tools: vec![weather()], ..asking() };
        office.model.call_by_batch(request, office.call(false)).await.unwrap();
        let taken = office.server.taken()[0].to_string();
        assert!(!taken.contains(foreign) && taken.contains("rain"), "{adapter}: {taken}");
    }
}
