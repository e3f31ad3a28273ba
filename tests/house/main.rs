//! What holds the house together: the walls between the modules, and pages that must say what the program does.

mod pages;
mod planted;
mod source;
mod walls;
