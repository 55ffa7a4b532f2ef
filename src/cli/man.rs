//! `man [COMMAND]`: a manual page, made from the command line's own definition.

use std::io::Write;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::args::Cli;
use super::args::usage::usage_error;

/// The page of one command.
#[derive(Debug)]
pub struct Page(Box<clap::Command>);

impl Page {
    /// The page of a command, or the page of pyspy-rs itself.
    ///
    /// # Errors
    /// A usage error when there is no such command.
    pub fn of(command: Option<&str>) -> Result<Page, clap::Error> {
        // `pyspy-rs help COMMAND` prints what the pages hold.
        let mut cli = Cli::command().disable_help_subcommand(true);
        // Gives the commands their full names and the global options.
        cli.build();
        let Some(name) = command else {
            return Ok(Page(Box::new(cli)));
        };
        match cli.find_subcommand(name) {
            Some(found) => Ok(Page(Box::new(found.clone()))),
            None => Err(usage_error("man", &format!("there is no command '{name}'"))),
        }
    }

    /// Prints the page in roff.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let man =
            Man::new((*self.0).clone()).source(concat!("pyspy-rs ", env!("CARGO_PKG_VERSION")));
        man.render_title(out)?;
        man.render_name_section(out)?;
        man.render_synopsis_section(out)?;
        man.render_description_section(out)?;
        man.render_options_section(out)?;
        if self.0.has_subcommands() {
            man.render_subcommands_section(out)?;
        }
        // clap_mangen would fill the lines of the examples up to one paragraph.
        if let Some(help) = self.0.get_after_help() {
            examples(&help.to_string()).to_writer(out)?;
        }
        Ok(())
    }
}

/// The text below a command's help, line by line; its first line is the heading.
fn examples(help: &str) -> Roff {
    let mut page = Roff::default();
    page.control("SH", ["EXAMPLES"]);
    page.control("nf", []);
    for line in help.lines().skip(1) {
        page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    page.control("fi", []);
    page
}
