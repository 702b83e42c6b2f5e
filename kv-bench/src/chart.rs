//! Charts of lines, as SVG.

use crate::store::Outcome;
use plotters::prelude::*;
use std::path::Path;

const WIDTH: u32 = 800;
const PANEL_HEIGHT: u32 = 300;
/// The axis is so many times as long as the lines, for the names beside them.
const LEGEND: f64 = 1.25;
/// Told apart also by those who see red and green alike.
const COLOURS: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

/// One chart of a file; they are drawn one below the other.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// A row's points, from left to right.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws a file of panels; axes begin at 0.
pub(crate) fn draw(path: &Path, panels: &[Panel]) -> Outcome {
    let count = u32::try_from(panels.len())?;
    let mut svg = String::new();
    {
        let size = (WIDTH, PANEL_HEIGHT * count);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, area) in panels.iter().zip(area.split_evenly((panels.len(), 1))) {
            let points = || panel.lines.iter().flat_map(|line| &line.points);
            let right = points().map(|point| point.0).fold(1.0, f64::max);
            let top = points().map(|point| point.1).fold(1.0, f64::max) * 1.1;
            let mut chart = ChartBuilder::on(&area)
                .caption(&panel.title, ("sans-serif", 16))
                .margin(8)
                .x_label_area_size(24)
                .y_label_area_size(48)
                .build_cartesian_2d(0.0..right * LEGEND, 0.0..top)?;
            chart
                .configure_mesh()
                .x_desc("round")
                .max_light_lines(1)
                .draw()?;
            for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
                let style = colour.stroke_width(2);
                let drawn = LineSeries::new(line.points.iter().copied(), style);
                chart
                    .draw_series(drawn)?
                    .label(&line.name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK)
                .draw()?;
        }
        area.present()?;
    }
    Ok(std::fs::write(path, svg)?)
}
