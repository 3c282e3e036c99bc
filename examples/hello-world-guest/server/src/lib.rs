//! Counts the messages it receives, and tells each respondee how many there were.

#[ambrosia::interface]
trait Respondee {
    fn response_from_server(number: u32);
}

#[ambrosia::state]
struct Server {
    messages_received: u32,
    respondees: Vec<Respondee>,
}

#[ambrosia::immortal]
impl Server {
    fn add_respondee(&mut self, name: String) {
        self.respondees.push(Respondee::attach(&name));
    }

    fn receive_message(&mut self, text: String) -> u32 {
        println!("\n!! SERVER Received message from a client: {text}");
        self.messages_received += 1;
        for respondee in &self.respondees {
            respondee.fork().response_from_server(self.messages_received);
        }
        self.messages_received
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ambrosia::testing::Harness;

    #[test]
    fn respondees_hear_how_many_messages_there_were() {
        let mut server = Harness::<Server>::start("server");
        server.send("client", |server| server.fork().receive_message("before anyone listens"));
        server.send("client", |server| server.fork().add_respondee("client"));
        server.send("other", |server| {
            server.fork().receive_message("two");
            server.fork().receive_message("three");
        });
        assert_eq!(server.take_forks::<(u32,)>("client", "response_from_server"), [(2,), (3,)]);
        assert_eq!(server.sent(), []);
        server.state(|server| assert_eq!(server.messages_received, 3));
    }
}
