use actors::mailbox::Fill;
use actors::transport;
use actors::world::World;
use policies::mailbox::{MailboxPolicy, WhenFull};
use policies::span::Span;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::*;

/// What an echo is told.
enum Msg {
    /// Answer when there is leave to.
    Say(u32, Reply<u32>),
    Panic(Reply<()>),
}

/// Says what it is told, once for each leave.
struct Echo(Arc<tokio::sync::Semaphore>);

impl Actor for Echo {
    type Msg = Msg;
    type State = Vec<u32>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<Vec<u32>, ActorProcessingErr> {
        Ok(Vec::new())
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, said: &mut Vec<u32>) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Say(number, reply) if reply.begin() => {
                self.0.acquire().await?.forget();
                said.push(number);
                reply.send(number);
            }
            Msg::Panic(reply) if reply.begin() => panic!("on purpose"),
            Msg::Say(..) | Msg::Panic(_) => {}
        }
        Ok(())
    }
}

/// A front with an echo in it that waits for leave.
async fn echo(mailbox: MailboxPolicy) -> (Front<Msg>, Arc<tokio::sync::Semaphore>, ActorRef<Msg>) {
    let leave = Arc::new(tokio::sync::Semaphore::new(0));
    let (front, (actor, _)) = (Front::new(), Actor::spawn(None, Echo(Arc::clone(&leave)), ()).await.unwrap());
    front.slot().publish(actor.clone());
    front.govern(&WorkerPolicy { mailbox, ..WorkerPolicy::default() });
    (front, leave, actor)
}

fn asking(front: &Front<Msg>, number: u32) -> tokio::task::JoinHandle<Result<u32, FrontError>> {
    let front = front.clone();
    let world = World::simulated(1, transport::unplugged());
    world.spawn("asks", async move { front.ask(|reply| Msg::Say(number, reply)).await })
}

async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_more_than_the_bound_is_told_that_it_is_full() {
    let (front, leave, _) = echo(MailboxPolicy::of(2)).await;
    let asked = [1, 2].map(|number| asking(&front, number));
    quiet().await;
    assert_eq!(asking(&front, 3).await.unwrap(), Err(FrontError::Full { capacity: 2 }));
    leave.add_permits(2);
    for (asked, number) in asked.into_iter().zip(1..) {
        assert_eq!(asked.await.unwrap(), Ok(number));
    }
    assert_eq!(front.credits().fill(), Fill { depth: 0, bound: 2, refused: 1, dropped: 0 });
}

#[tokio::test(start_paused = true)]
async fn one_more_waits_for_room_where_the_policy_says_so() {
    let blocks = MailboxPolicy { when_full: WhenFull::Block, block_within: Span::from_secs(5), ..MailboxPolicy::of(1) };
    let (front, leave, _) = echo(blocks).await;
    let first = asking(&front, 1);
    quiet().await;
    let second = asking(&front, 2);
    tokio::time::sleep(Duration::from_secs(4)).await;
    leave.add_permits(2);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(1), Ok(2)));
    let third = asking(&front, 3);
    quiet().await;
    assert_eq!(asking(&front, 4).await.unwrap(), Err(FrontError::Full { capacity: 1 }));
    third.abort();
}

#[tokio::test(start_paused = true)]
async fn the_eldest_that_waits_makes_room_and_is_told_while_the_worker_is_busy() {
    let drops = MailboxPolicy { when_full: WhenFull::DropOldest, ..MailboxPolicy::of(2) };
    let (front, leave, _) = echo(drops).await;
    let first = asking(&front, 1);
    quiet().await;
    let [second, third] = [2, 3].map(|number| asking(&front, number));
    quiet().await;
    assert_eq!(second.await.unwrap(), Err(FrontError::Dropped));
    leave.add_permits(9);
    assert_eq!((first.await.unwrap(), third.await.unwrap()), (Ok(1), Ok(3)));
    assert_eq!(leave.available_permits(), 7, "what was dropped was not done");
    assert_eq!(front.credits().fill(), Fill { depth: 0, bound: 2, refused: 0, dropped: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_panic_blames_what_it_was_at_and_nothing_that_waited() {
    let (front, leave, actor) = echo(MailboxPolicy::of(9)).await;
    let first = asking(&front, 1);
    quiet().await;
    let (panics, last) = tokio::join!(front.ask(Msg::Panic), async {
        let behind = asking(&front, 2);
        quiet().await;
        leave.add_permits(9);
        behind.await.unwrap()
    });
    actor.wait(None).await.unwrap();
    assert_eq!(first.await.unwrap(), Ok(1));
    let Err(FrontError::Killed(cause)) = panics else { panic!("{panics:?}") };
    assert_eq!(cause.class, FailureClass::Bug);
    assert_eq!(last, Err(FrontError::Untaken));
    assert!(!FrontError::Untaken.may_have_acted());
    assert_eq!(front.credits().depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_kill_blames_nothing_that_it_was_at() {
    let (front, _leave, actor) = echo(MailboxPolicy::of(9)).await;
    let asked = [1, 2].map(|number| asking(&front, number));
    quiet().await;
    actor.kill();
    let [at_it, behind] = asked;
    assert_eq!(at_it.await.unwrap(), Err(FrontError::Lost));
    assert_eq!(behind.await.unwrap(), Err(FrontError::Untaken));
}
