//! The catalogue of all trials, layer by layer.

mod contract;
mod crash;
mod dialling;
mod effect;
mod faults;
mod handles;
mod history;
mod load;
mod model;
mod places;
mod power;
mod stores;
pub(crate) mod tools;
mod wait;

use crate::trial::Trial;

/// All trials, in the order in which they are best read.
pub fn catalogue() -> impl Iterator<Item = Trial> {
    let layers = [
        contract::cell::TRIALS,
        contract::clients::TRIALS,
        contract::drops::TRIALS,
        handles::names::TRIALS,
        handles::modes::TRIALS,
        handles::waiting::TRIALS,
        handles::ends::TRIALS,
        handles::nesting::TRIALS,
        handles::drops::TRIALS,
        handles::cells::TRIALS,
        model::TRIALS,
        history::TRIALS,
        effect::TRIALS,
        crash::TRIALS,
        faults::TRIALS,
        dialling::TRIALS,
        load::TRIALS,
        places::users::TRIALS,
        places::ids::TRIALS,
        places::hidden::TRIALS,
        places::clocks::TRIALS,
        power::TRIALS,
        stores::damaged::TRIALS,
        stores::media::TRIALS,
        stores::restored::TRIALS,
        stores::rewound::TRIALS,
        stores::formats::TRIALS,
    ];
    layers.into_iter().flatten().copied()
}
