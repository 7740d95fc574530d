//! Renders stacked bars as SVG, with a link on each part.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use jiff::civil::Date;
use maud::{Markup, PreEscaped, html};
use plotters::{
    coord::{CoordTranslate, Shift},
    prelude::{ChartBuilder, DrawingArea, IntoDrawingArea, Rectangle, SVGBackend},
    style::{Color, RGBColor},
};

const SIZE: (u32, u32) = (560, 220);

/// The colours of the series: Okabe and Ito's qualitative palette, which colour-blind people can distinguish. All
/// remaining series share the last colour, a grey.
pub const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(140, 140, 140),
];

#[derive(Debug)]
pub struct Bar {
    pub label: String,
    /// The index in [`COLORS`], the value and the label of each series, from the bottom.
    pub parts: Vec<(usize, u64, String)>,
    /// The URLs of the traces that each part counts, in the order of `parts`.
    pub urls: Vec<String>,
}

pub fn bars(title: &str, bars: &[Bar]) -> Markup {
    match drawn(title, bars) {
        Ok(svg) => PreEscaped(svg),
        Err(error) => html! { p.notice { "This chart cannot be drawn: " (error) } },
    }
}

fn drawn(title: &str, bars: &[Bar]) -> Result<String> {
    let heights = bars.iter().map(|bar| bar.parts.iter().map(|(_, value, _)| float(*value)).sum::<f64>());
    let highest = heights.fold(1.0, f64::max);
    let mut svg = String::new();
    let links;
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        links = draw(&area, bars, highest).map_err(|error| anyhow!("{error}"))?;
        area.present()?;
    }
    // The library draws no links, so rectangles over its bars are added before the end of its document.
    let body = svg.split_once('>').map(|(_, body)| body.trim_end().trim_end_matches("</svg>")).unwrap_or_default();
    let (width, height) = SIZE;
    let title = html! { (title) }.into_string();
    let mut out =
        format!("<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"group\" aria-label=\"{title}\">");
    out.push_str(body);
    out.push_str(&links);
    out.push_str("</svg>");
    Ok(out)
}

/// Draws the axes and the bars, and returns the links over the bars.
fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, bars: &[Bar], highest: f64) -> Result<String> {
    let count = f64::from(u32::try_from(bars.len().max(1))?);
    let grey = RGBColor(128, 128, 128);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .x_label_area_size(26)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..count, 0.0..highest)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .x_labels(1)
        .y_labels(4)
        .y_label_formatter(&|value| if highest < 4.0 && value.fract() != 0.0 { String::new() } else { short(*value) })
        .bold_line_style(grey.mix(0.3))
        .light_line_style(grey.mix(0.0))
        .axis_style(grey)
        .draw()?;
    let mut links = String::new();
    let step = (bars.len() / 8).max(1);
    for (place, bar) in bars.iter().enumerate() {
        let left = f64::from(u32::try_from(place)?);
        let mut bottom = 0.0;
        for ((series, value, meaning), url) in bar.parts.iter().zip(&bar.urls) {
            let corners = [(left + 0.12, bottom), (left + 0.88, bottom + float(*value))];
            bottom += float(*value);
            let color = COLORS[(*series).min(COLORS.len() - 1)];
            chart.draw_series([Rectangle::new(corners, color.filled())])?;
            let spec = chart.as_coord_spec();
            let [(x0, y1), (x1, y0)] = corners.map(|corner| spec.translate(&corner));
            let (url, meaning) = (html! { (url) }.into_string(), html! { (meaning) }.into_string());
            write!(
                links,
                "<a href=\"{url}\" aria-label=\"{meaning}\"><rect class=\"hit\" x=\"{x0}\" y=\"{y0}\" width=\"{}\" \
                 height=\"{}\"><title>{meaning}</title></rect></a>",
                (x1 - x0).max(1),
                (y1 - y0).max(2),
            )?;
        }
        if place % step == 0 {
            let (x, y) = chart.as_coord_spec().translate(&(left + 0.5, 0.0));
            let label = html! { (bar.label) }.into_string();
            write!(links, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", y + 18)?;
        }
    }
    Ok(links)
}

fn short(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e4, "k"), (0.0, "")];
    let (from, unit) = units.into_iter().find(|(from, _)| value >= *from).unwrap_or_default();
    let scaled = if unit == "k" { value / 1e3 } else { value / from.max(1.0) };
    format!("{}{unit}", format!("{scaled:.1}").trim_end_matches(".0"))
}

#[expect(clippy::cast_precision_loss, reason = "a chart shows few digits")]
fn float(value: u64) -> f64 {
    value as f64
}

/// Formats a day for the axis.
pub fn day_label(day: Date) -> String {
    day.strftime("%m-%d").to_string()
}
