//! The help screen of `top`, and its footer.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

const HELP: [(&str, &str); 10] = [
    ("1", "Sort by %Own (% of last interval in the function)"),
    (
        "2",
        "Sort by %Total (% of last interval in the function and its callees)",
    ),
    ("3", "Sort by OwnTime (Total time spent in the function)"),
    (
        "4",
        "Sort by TotalTime (Total time spent in the function and its callees)",
    ),
    (
        "5",
        "Sort by Kept (RSS added in the function and never released)",
    ),
    (
        "6",
        "Sort by Added (RSS added in the function; Freed: released in it)",
    ),
    (
        "L,l",
        "Toggle between aggregating by line number or by function",
    ),
    ("R,r", "Reset statistics"),
    ("X,x,?", "Exit this help screen"),
    ("Q,q", "Quit (also Control-C)"),
];
/// Title, blank line, headings, keys, blank line.
pub const HELP_HEIGHT: u16 = HELP.len() as u16 + 4;

pub fn draw_footer(area: Rect, buffer: &mut Buffer) {
    let key = |text| Span::styled(text, Style::new().add_modifier(Modifier::BOLD));
    let line = Line::from(vec![
        Span::raw("Press "),
        key("q"),
        Span::raw(" to quit, "),
        key("?"),
        Span::raw(" for help, "),
        key("1"),
        Span::raw("-"),
        key("6"),
        Span::raw(" to sort, "),
        key("l"),
        Span::raw(" for lines, "),
        key("r"),
        Span::raw(" to reset."),
    ]);
    if let Some(last) = area.rows().next_back() {
        buffer.set_line(last.x, last.y, &line, last.width);
    }
}

pub fn draw_help(area: Rect, buffer: &mut Buffer) {
    let title = Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD);
    let head = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);
    let keys = HELP.map(|(key, action)| (key, action, Style::new()));
    let keys = std::iter::once(("key", "action", head)).chain(keys);
    let lines = keys.map(|(key, action, style)| {
        Line::from(vec![
            Span::styled(format!("{key:^12}"), style),
            Span::styled(action, style),
        ])
    });
    let heading = Line::from(" Keyboard Shortcuts ").style(title);
    if let Some(first) = area.rows().next() {
        buffer.set_style(first, title);
    }
    for (place, line) in area
        .rows()
        .zip([heading, Line::default()].into_iter().chain(lines))
    {
        buffer.set_line(place.x, place.y, &line, place.width);
    }
}
