//! Sends a message, and the next one when the server has acknowledged it; after the second it ends.

#[ambrosia::interface]
trait Server {
    fn add_respondee(name: String);
    fn receive_message(text: String);
}

#[ambrosia::state]
struct Client3;

#[ambrosia::immortal]
impl Client3 {
    fn on_first_start(&mut self) {
        Server::attach("server").fork().add_respondee(ambrosia::instance_name());
        send(1);
    }

    fn response_from_server(&mut self, number: u32) {
        println!("\n!! Client: Message #{number} completed. Server acknowledges processing {number} messages.");
        if number < 2 {
            return send(number + 1);
        }
        println!("\n!! Client: Shutting down");
        ambrosia::exit(0);
    }
}

fn send(number: u32) {
    Server::attach("server").fork().receive_message(format!("\n!! Client: Hello World 3 Message #{number}!"));
    println!("\n!! Client: Sent message #{number}.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ambrosia::testing::Harness;

    #[test]
    fn it_ends_after_the_second_acknowledgement() {
        let mut client = Harness::<Client3>::start("client");
        let text = |number| (format!("\n!! Client: Hello World 3 Message #{number}!"),);
        assert_eq!(client.take_forks::<(String,)>("server", "add_respondee"), [("client".to_string(),)]);
        assert_eq!(client.take_forks::<(String,)>("server", "receive_message"), [text(1)]);

        client.send("server", |client| client.fork().response_from_server(1));
        assert_eq!(client.take_forks::<(String,)>("server", "receive_message"), [text(2)]);
        assert_eq!(client.exit_code(), None);

        client.send("server", |client| client.fork().response_from_server(2));
        assert_eq!(client.sent(), []);
        assert_eq!(client.exit_code(), Some(0));
    }
}
