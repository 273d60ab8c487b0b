mod export;
mod lab;
mod model;
mod reception;
mod selection;
