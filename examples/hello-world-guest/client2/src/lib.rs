//! Sends each line of the keyboard to the server; an empty line ends it.
//!
//! `receive_keyboard_input` receives the lines: `ambrosia-host run --instance client --stdin receive_keyboard_input`.

#[ambrosia::interface]
trait Server {
    fn receive_message(text: String);
}

#[ambrosia::state]
struct Client2;

#[ambrosia::immortal]
impl Client2 {
    fn on_becoming_primary(&mut self) {
        println!("Finished initializing state/recovering");
        prompt();
    }

    fn receive_keyboard_input(&mut self, text: String) {
        if text.is_empty() {
            return ambrosia::exit(0);
        }
        println!("Sending keyboard input {text}");
        Server::attach("server").fork().receive_message(text);
        prompt();
    }
}

fn prompt() {
    print!("Enter a message (hit ENTER to send, send an empty line to end): ");
}
