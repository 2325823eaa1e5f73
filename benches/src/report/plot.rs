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
const LEFT: i32 = 250;
const RIGHT: i32 = 190;

/// The heights of the head and of what is in the plot.
const HEAD: i32 = 58;
const BAR: i32 = 22;
const GROUP: i32 = 30;

const INK: RGBColor = RGBColor(40, 44, 52);
const PALE: RGBColor = RGBColor(225, 228, 232);
const GREY: RGBColor = RGBColor(120, 126, 136);
const LIMIT: RGBColor = RGBColor(200, 60, 50);

/// What a bar or line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tint {
    Ours,
    /// This product in another way.
    Second,
    Other,
    /// What cannot be beaten.
    Floor,
}

/// One bar, or the heading of those that follow.
#[derive(Debug)]
pub(super) enum Item {
    Group(String),
    Bar {
        label: String,
        value: f64,
        /// What is written behind it.
        text: String,
        tint: Tint,
        /// How far its tail goes, the 99th of a hundred.
        tail: Option<f64>,
    },
}

/// A plot of bars.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) subtitle: &'a str,
    pub(super) items: Vec<Item>,
    /// Lines that should not be crossed, or should be reached, and what they are.
    pub(super) limits: Vec<(f64, &'a str)>,
    /// Each step to the right is ten times as much; for what differs by orders of magnitude.
    pub(super) by_tens: bool,
    /// How values on the axis are written.
    pub(super) unit: fn(f64) -> String,
}

/// A plot of lines, both axes by tens.
pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    pub(super) subtitle: &'a str,
    /// The name of each, what it stands for, and its points.
    pub(super) all: Vec<(String, Tint, Points)>,
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
            Item::Bar { value, tail, .. } => [Some(*value), *tail],
            Item::Group(_) => [None, None],
        });
        let all = values.flatten().chain(bars.limits.iter().map(|(limit, _)| *limit));
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
        let step = 10f64.powf((end / 2.0).log10().floor());
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
    let heights = bars.items.iter().map(|item| if is_group(item) { GROUP } else { BAR });
    let bottom = HEAD + heights.sum::<i32>() + 8;
    let height = u32::try_from(bottom + 30)?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    head(&area, bars.title, bars.subtitle)?;
    let scale = Scale::of(bars);
    for tick in scale.ticks() {
        let x = scale.at(tick);
        area.draw(&PathElement::new(vec![(x, HEAD), (x, bottom)], PALE))?;
        write(&area, &(bars.unit)(tick), (x, bottom + 6), 11, GREY, HPos::Center)?;
    }
    let mut top = HEAD;
    for item in &bars.items {
        match item {
            Item::Group(name) => {
                write(&area, name, (16, top + 11), 13, INK, HPos::Left)?;
                top += GROUP;
            }
            Item::Bar { label, value, text, tint, tail } => {
                let (end, middle) = (scale.at(*value).max(LEFT + 2), top + BAR / 2);
                write(&area, label, (LEFT - 8, middle - 6), 12, INK, HPos::Right)?;
                let corners = [(LEFT, top + 3), (end, top + BAR - 3)];
                area.draw(&Rectangle::new(corners, tint.color().filled()))?;
                let mut behind = end;
                if let Some(tail) = tail.map(|tail| scale.at(tail)).filter(|tail| *tail > end) {
                    let line = |points| PathElement::new(points, GREY);
                    area.draw(&line(vec![(end, middle), (tail, middle)]))?;
                    area.draw(&line(vec![(tail, middle - 4), (tail, middle + 4)]))?;
                    behind = tail;
                }
                write(&area, text, (behind + 6, middle - 6), 12, INK, HPos::Left)?;
                top += BAR;
            }
        }
    }
    for (limit, name) in &bars.limits {
        let x = scale.at(*limit);
        let mut y = HEAD - 2;
        while y < bottom {
            area.draw(&PathElement::new(vec![(x, y), (x, (y + 4).min(bottom))], LIMIT))?;
            y += 8;
        }
        write(&area, name, (x, HEAD - 16), 11, LIMIT, HPos::Center)?;
    }
    Ok(area.present()?)
}

fn is_group(item: &Item) -> bool {
    matches!(item, Item::Group(_))
}

/// Draws lines into a file.
pub(super) fn lines(path: &Path, lines: &Lines<'_>) -> Result<(), Failure> {
    let area = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    head(&area, lines.title, lines.subtitle)?;
    let points = || lines.all.iter().flat_map(|(_, _, points)| points.iter().copied());
    let around = |values: &mut dyn Iterator<Item = f64>| {
        let (least, most) =
            values.fold((f64::MAX, 0.0f64), |(a, b), value| (a.min(value), b.max(value)));
        (least * 0.8)..(most * 1.25)
    };
    let across = around(&mut points().map(|(x, _)| x));
    let up = around(&mut points().map(|(_, y)| y));
    let (_, below) = area.split_vertically(HEAD - 14);
    let mut chart = ChartBuilder::on(&below)
        .margin_right(190)
        .margin_left(8)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 42)
        .build_cartesian_2d(across.log_scale(), up.log_scale())?;
    chart
        .configure_mesh()
        .bold_line_style(PALE)
        .light_line_style(TRANSPARENT)
        .axis_style(GREY)
        .x_desc(lines.across)
        .label_style((FONT, 12).into_font().color(&INK))
        .x_label_formatter(&|x| crate::results::number(*x).replace(".0", ""))
        .y_label_formatter(&|y| (lines.unit)(*y))
        .draw()?;
    let mut labels = Vec::new();
    for (name, tint, points) in &lines.all {
        let color = tint.color();
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
        write(&area, name, (x + 10, y - 6), 12, color, HPos::Left)?;
        free = y + 15;
    }
    Ok(area.present()?)
}

fn head(area: &Area<'_>, title: &str, subtitle: &str) -> Result<(), Failure> {
    area.fill(&WHITE)?;
    write(area, title, (16, 8), 17, INK, HPos::Left)?;
    write(area, subtitle, (16, 28), 12, GREY, HPos::Left)
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: u32,
    color: RGBColor,
    anchor: HPos,
) -> Result<(), Failure> {
    let style = (FONT, size).into_font().color(&color).pos(Pos::new(anchor, VPos::Top));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}
