//! The man page: made from the same declarations as the help, kept in `docs/palisade.1`, and
//! compared with it by a test. `PALISADE_BLESS=1 cargo test -p palisade-cli man` writes it anew.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/palisade.1");

fn render() -> std::io::Result<Vec<u8>> {
    let whole = args::whole();
    let man = Man::new(whole.clone()).title("PALISADE").section("1").date("");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut about = Roff::default();
    about.control("SH", ["DESCRIPTION"]);
    for paragraph in args::RULES.split("\n\n") {
        about.control("PP", []);
        about.text([roman(paragraph)]);
    }
    about.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    commands().to_writer(&mut page)?;
    notes().to_writer(&mut page)?;
    Ok(page)
}

/// The subcommands beside `run`, with their options.
fn commands() -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["COMMANDS"]);
    for name in args::SUBCOMMANDS {
        let Some(command) = args::subcommand(name) else { continue };
        roff.control("TP", []);
        roff.text([bold(format!("palisade {name}"))]);
        let about = if name == "run" { None } else { command.get_long_about() };
        let about = about.or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        roff.text([roman(about)]);
        if name == "run" {
            roff.control("br", []);
            roff.text([roman("The options are those above; the word run may be left out.")]);
            continue;
        }
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let value = arg
                .get_value_names()
                .filter(|_| arg.get_action().takes_values())
                .map(|names| names.iter().map(|n| format!(" {n}")).collect::<String>())
                .unwrap_or_default();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            roff.control("br", []);
            roff.text([bold(format!("--{long}{value}")), roman(format!("  {help}"))]);
        }
    }
    roff
}

fn notes() -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["NOTES"]);
    for text in [args::EXIT_STATUS, args::EXAMPLES] {
        roff.control("nf", []);
        roff.text([roman(text)]);
        roff.control("fi", []);
        roff.control("PP", []);
    }
    roff
}

#[test]
fn the_man_page_is_up_to_date() {
    let made = render().expect("writing to memory");
    if std::env::var_os("PALISADE_BLESS").is_some() {
        std::fs::write(FILE, &made).expect("docs/palisade.1 can be written");
    }
    let kept = std::fs::read(FILE).expect("docs/palisade.1 is there");
    assert!(
        kept == made,
        "docs/palisade.1 differs from the command's own options; \
         PALISADE_BLESS=1 cargo test -p palisade-cli man writes it anew"
    );
}
