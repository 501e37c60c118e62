use smartsocket_core::Message;
use smartsocket_core::client::{Priority, Provider};

use super::{endure, noise};
use crate::common::client::World;

fn open() -> World {
    World::opened(
        Provider::Echo,
        Provider::Echo.config("ws://echo.example.com"),
    )
}

/// Public hosts greet, unasked.
#[test]
fn a_greeting_is_a_message_like_others() {
    let mut world = open();
    let now = world.now;
    for message in [Message::text("hi"), Message::binary(vec![1, 2])] {
        world.client.send(now, message, Priority::Normal);
    }
    let (data, priority) = (vec![3], Priority::Normal);
    world.client.publish_bytes(now, None, "any", data, priority);
    world.play(
        r"
        E state connecting
        E state connected
        E state authenticated
        S hello
        E message hello
        C hi
        S hi
        E message hi
        C binary [1, 2]
        C binary [3]
        S binary [1, 2]
        E message binary [1, 2]
        ",
    );
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_hurts(messages in noise(&["hello"])) {
        endure(&mut open(), messages);
    }
}
