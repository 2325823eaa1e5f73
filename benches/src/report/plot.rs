//! Two kinds of plot: bars that lie under each other, and lines that grow; as SVG.

use std::ops::Range;
use std::path::Path;

use lock_bench_worker::Failure;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 900;
const FONT: &str = "sans-serif";

/// Where bars begin, and how much room their values have behind the longest.
const LEFT: i32 = 260;
const RIGHT: i32 = 230;

/// The heights of title and subtitle, of a row of the legend, and of what is in the plot.
const HEAD: i32 = 52;
const LEGEND: i32 = 20;
const BAR: i32 = 22;
const GROUP: i32 = 30;

/// Sizes of text, in pixels.
const TITLE: u32 = 18;
const TEXT: u32 = 13;
const SMALL: u32 = 12;

/// The library writes sizes in another unit into the picture: pixels divided by this.
const PER_PIXEL: f64 = 1.24;

const INK: RGBColor = RGBColor(40, 44, 52);
const PALE: RGBColor = RGBColor(225, 228, 232);
const GREY: RGBColor = RGBColor(120, 126, 136);
const LIMIT: RGBColor = RGBColor(200, 60, 50);
const LATE: RGBColor = RGBColor(230, 150, 40);

/// The colours of lines, which are as many as there are stores.
const LINES: [RGBColor; 7] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 106, 30),
    RGBColor(44, 140, 60),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(200, 80, 150),
    RGBColor(90, 100, 110),
];

/// What a bar or line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tint {
    Ours,
    /// This product in another way.
    Second,
    Other,
    /// What cannot be beaten.
    Floor,
    /// What falls short.
    Bad,
}

/// What a legend explains.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Bar(Tint),
    Tail,
    Limit,
    LateLimit,
}

/// One bar, or the heading of those that follow.
#[derive(Debug)]
pub(super) enum Item {
    Group(String),
    Bar(Bar),
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// What is written behind it.
    pub(super) text: String,
    pub(super) tint: Tint,
    /// How far its tail goes, the 99th of a hundred.
    pub(super) tail: Option<f64>,
    /// What it must not exceed, or has to reach; and that of its tail.
    pub(super) limit: Option<f64>,
    pub(super) late_limit: Option<f64>,
}

/// A plot of bars.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) subtitle: &'a str,
    pub(super) items: Vec<Item>,
    pub(super) legend: Vec<(Mark, String)>,
    /// Each step to the right is ten times as much; for what differs by orders of magnitude.
    pub(super) by_tens: bool,
    /// How values on the axis are written.
    pub(super) unit: fn(f64) -> String,
}

/// A plot of lines; the axis across is by tens.
pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    pub(super) subtitle: &'a str,
    /// The name of each, and its points.
    pub(super) all: Vec<(String, Points)>,
    /// What no line should cross, and what it is.
    pub(super) limit: (f64, &'a str),
    pub(super) across: &'a str,
    pub(super) unit: fn(f64) -> String,
}

/// Across and up.
pub(super) type Points = Vec<(f64, f64)>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Tint {
    fn color(self) -> RGBColor {
        match self {
            Self::Ours => RGBColor(31, 119, 180),
            Self::Second => RGBColor(128, 183, 222),
            Self::Other => RGBColor(186, 140, 99),
            Self::Floor => RGBColor(190, 195, 202),
            Self::Bad => RGBColor(208, 110, 100),
        }
    }
}

/// Where a value is, from the left.
struct Scale {
    range: Range<f64>,
    by_tens: bool,
}

impl Scale {
    fn of(bars: &Bars<'_>) -> Self {
        let values = bars.items.iter().flat_map(|item| match item {
            Item::Bar(bar) => [Some(bar.value), bar.tail, bar.limit, bar.late_limit],
            Item::Group(_) => [None; 4],
        });
        let all = values.flatten();
        let positive = all.filter(|value| *value > 0.0 && value.is_finite());
        let (least, most) = positive
            .fold((f64::MAX, 0.0f64), |(least, most), value| (least.min(value), most.max(value)));
        if most == 0.0 {
            return Self { range: 0.0..1.0, by_tens: false };
        }
        // The shortest bar is one that can be seen.
        let start = if bars.by_tens { 10f64.powf((least.log10() - 0.3).floor()) } else { 0.0 };
        let range = start..most;
        Self { range, by_tens: bars.by_tens }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is within the picture")]
    fn at(&self, value: f64) -> i32 {
        let Range { start, end } = self.range;
        let part = if self.by_tens {
            (value.max(start) / start).ln() / (end / start).ln().max(f64::EPSILON)
        } else {
            (value - start) / (end - start)
        };
        let room = f64::from(i32::try_from(WIDTH).unwrap_or(i32::MAX) - LEFT - RIGHT);
        LEFT + (part.clamp(0.0, 1.0) * room).round() as i32
    }

    /// Values for lines across the plot.
    fn ticks(&self) -> Vec<f64> {
        let Range { start, end } = self.range;
        let mut ticks = Vec::new();
        let tens = 10f64.powf((end / 2.0).log10().floor());
        // So few that what is written below them has room.
        let step = [1.0, 2.0, 5.0].map(|times| times * tens);
        let step = step.into_iter().find(|step| end / step < 8.0).unwrap_or(10.0 * tens);
        let mut tick = if self.by_tens { start } else { step };
        while tick <= end * 1.001 && ticks.len() < 20 {
            ticks.push(tick);
            tick = if self.by_tens { tick * 10.0 } else { tick + step };
        }
        ticks
    }
}

/// Draws bars into a file.
pub(super) fn bars(path: &Path, bars: &Bars<'_>) -> Result<(), Failure> {
    let (legend, head_height) = legend(&bars.legend);
    let heights = bars.items.iter().map(|item| if is_group(item) { GROUP } else { BAR });
    let bottom = head_height + heights.sum::<i32>() + 8;
    let height = u32::try_from(bottom + 30)?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    head(&area, bars.title, bars.subtitle)?;
    for (mark, text, at) in legend {
        explain(&area, mark, text, at)?;
    }
    let scale = Scale::of(bars);
    for tick in scale.ticks() {
        let x = scale.at(tick);
        area.draw(&PathElement::new(vec![(x, head_height), (x, bottom)], PALE))?;
        write(&area, &(bars.unit)(tick), (x, bottom + 6), SMALL, GREY, HPos::Center)?;
    }
    let mut top = head_height;
    for item in &bars.items {
        match item {
            Item::Group(name) => {
                write(&area, name, (16, top + 10), TEXT + 1, INK, HPos::Left)?;
                top += GROUP;
            }
            Item::Bar(bar) => {
                draw(&area, &scale, bar, top)?;
                top += BAR;
            }
        }
    }
    Ok(area.present()?)
}

fn draw(area: &Area<'_>, scale: &Scale, bar: &Bar, top: i32) -> Result<(), Failure> {
    let (end, middle) = (scale.at(bar.value).max(LEFT + 2), top + BAR / 2);
    write(area, &bar.label, (LEFT - 8, middle - 7), TEXT, INK, HPos::Right)?;
    let corners = [(LEFT, top + 3), (end, top + BAR - 3)];
    area.draw(&Rectangle::new(corners, bar.tint.color().filled()))?;
    let mut behind = end;
    if let Some(tail) = bar.tail.map(|tail| scale.at(tail)).filter(|tail| *tail > end) {
        let line = |points| PathElement::new(points, GREY);
        area.draw(&line(vec![(end, middle), (tail, middle)]))?;
        area.draw(&line(vec![(tail, middle - 4), (tail, middle + 4)]))?;
        behind = tail;
    }
    for (limit, color) in [(bar.limit, LIMIT), (bar.late_limit, LATE)] {
        if let Some(x) = limit.map(|limit| scale.at(limit)) {
            let line = vec![(x, top), (x, top + BAR)];
            area.draw(&PathElement::new(line, color.stroke_width(2)))?;
            // What is written behind it is not written across a line.
            let is_in_the_way = (behind..behind + 12 + width_of(&bar.text)).contains(&x);
            behind = if is_in_the_way { x } else { behind };
        }
    }
    write(area, &bar.text, (behind + 6, middle - 7), TEXT, INK, HPos::Left)
}

/// Where each part of a legend stands, and where what follows begins.
#[expect(clippy::type_complexity, reason = "it is no type that has a name")]
fn legend(marks: &[(Mark, String)]) -> (Vec<(Mark, &str, (i32, i32))>, i32) {
    let (mut x, mut y, mut all) = (16, HEAD, Vec::new());
    for (mark, text) in marks {
        let width = 46 + width_of(text);
        if x > 16 && x + width > i32::try_from(WIDTH).unwrap_or(i32::MAX) {
            (x, y) = (16, y + LEGEND);
        }
        all.push((*mark, text.as_str(), (x, y)));
        x += width;
    }
    (all, y + if marks.is_empty() { 0 } else { LEGEND + 4 })
}

fn explain(area: &Area<'_>, mark: Mark, text: &str, (x, y): (i32, i32)) -> Result<(), Failure> {
    let line = |points, color: RGBColor, width| {
        area.draw(&PathElement::new(points, color.stroke_width(width)))
    };
    match mark {
        Mark::Bar(tint) => {
            area.draw(&Rectangle::new([(x, y + 2), (x + 20, y + 13)], tint.color().filled()))?;
        }
        Mark::Tail => {
            line(vec![(x, y + 7), (x + 20, y + 7)], GREY, 1)?;
            line(vec![(x + 20, y + 3), (x + 20, y + 11)], GREY, 1)?;
        }
        Mark::Limit => line(vec![(x + 10, y), (x + 10, y + 15)], LIMIT, 2)?,
        Mark::LateLimit => line(vec![(x + 10, y), (x + 10, y + 15)], LATE, 2)?,
    }
    write(area, text, (x + 26, y), SMALL, INK, HPos::Left)
}

/// About what a text takes: how it is drawn is up to whoever looks at it.
fn width_of(text: &str) -> i32 {
    i32::try_from(text.chars().count()).map_or(0, |letters| 7 * letters)
}

fn is_group(item: &Item) -> bool {
    matches!(item, Item::Group(_))
}

/// Draws lines into a file.
pub(super) fn lines(path: &Path, lines: &Lines<'_>) -> Result<(), Failure> {
    let area = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    head(&area, lines.title, lines.subtitle)?;
    let points = || lines.all.iter().flat_map(|(_, points)| points.iter().copied());
    let around = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, 0.0f64), |(a, b), value| (a.min(value), b.max(value)))
    };
    let (left, right) = around(&mut points().map(|(x, _)| x));
    let (limit, meaning) = lines.limit;
    let (low, high) = around(&mut points().map(|(_, y)| y).chain([limit]));
    let (_, below) = area.split_vertically(HEAD - 4);
    let mut chart = ChartBuilder::on(&below)
        .margin_right(RIGHT)
        .margin_left(8)
        .margin_top(8)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 46)
        .build_cartesian_2d(
            (left * 0.8..right * 1.25).log_scale(),
            (low - 0.1).max(0.0)..high + 0.1,
        )?;
    chart
        .configure_mesh()
        .bold_line_style(PALE)
        .light_line_style(TRANSPARENT)
        .axis_style(GREY)
        .x_desc(lines.across)
        .label_style((FONT, f64::from(SMALL) * PER_PIXEL).into_font().color(&INK))
        .x_label_formatter(&|x| crate::results::number(*x).replace(".0", ""))
        .y_label_formatter(&|y| (lines.unit)(*y))
        .draw()?;
    let level = vec![(left * 0.8, limit), (right * 1.25, limit)];
    chart.draw_series([PathElement::new(level, LIMIT.stroke_width(2))])?;
    let (x, y) = chart.backend_coord(&(left * 0.8, limit));
    write(&area, meaning, (x + 8, y - 18), SMALL, LIMIT, HPos::Left)?;
    let mut labels = Vec::new();
    for ((name, points), color) in lines.all.iter().zip(LINES.into_iter().cycle()) {
        chart.draw_series([PathElement::new(points.clone(), color.stroke_width(3))])?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled())))?;
        if let Some(last) = points.last() {
            let (x, y) = chart.backend_coord(last);
            labels.push((y, x, name, color));
        }
    }
    // Names stand behind the ends of their lines, and not on each other.
    labels.sort_by_key(|(y, ..)| *y);
    let mut free = 0;
    for (y, x, name, color) in labels {
        let y = y.max(free);
        write(&area, name, (x + 22, y - 7), TEXT, color, HPos::Left)?;
        free = y + 17;
    }
    Ok(area.present()?)
}

fn head(area: &Area<'_>, title: &str, subtitle: &str) -> Result<(), Failure> {
    area.fill(&WHITE)?;
    write(area, title, (16, 8), TITLE, INK, HPos::Left)?;
    write(area, subtitle, (16, 31), TEXT, GREY, HPos::Left)
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: u32,
    color: RGBColor,
    anchor: HPos,
) -> Result<(), Failure> {
    let size = (f64::from(size) * PER_PIXEL).round();
    let style = (FONT, size).into_font().color(&color).pos(Pos::new(anchor, VPos::Top));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}
