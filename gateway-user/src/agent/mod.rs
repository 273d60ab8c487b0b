//! What gateway and host agents share towards the controller.
