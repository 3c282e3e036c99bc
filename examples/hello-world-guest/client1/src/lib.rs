//! Sends one message, and two more when Enter is pressed; another Enter ends it.
//!
//! `press_enter` receives the lines of the keyboard: `ambrosia-host run --instance client --stdin press_enter`.

#[ambrosia::interface]
trait Server {
    fn receive_message(text: String);
}

#[ambrosia::state]
struct Client1 {
    sent_all: bool,
}

#[ambrosia::immortal]
impl Client1 {
    fn on_first_start(&mut self) {
        send(1);
        println!("\n!! Client: Sent message 1.");
    }

    fn on_becoming_primary(&mut self) {
        println!(
            "\n!! Client: Press enter to {}",
            if self.sent_all { "shutdown." } else { "continue (will send 2&3)" }
        );
    }

    fn press_enter(&mut self, _line: String) {
        if self.sent_all {
            return ambrosia::exit(0);
        }
        send(2);
        send(3);
        self.sent_all = true;
        println!("\n!! Client: Press enter to shutdown.");
    }
}

fn send(number: u32) {
    Server::attach("server").fork().receive_message(format!("\n!! Client: Hello World {number}!"));
}
