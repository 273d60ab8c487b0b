mod export;
mod lab;
mod reception;
mod selection;
