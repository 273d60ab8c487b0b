mod export;
mod lab;
mod model;
mod reception;
mod rehearsal;
mod selection;
