//! The northbound interface's resources: schema, trees, ETags, references, errors.
