//! A backup: it is refused with a reason, or comes out again as it went in.
#![no_main]

use gateway_user::controller::store::backup::Backup;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Backup::read(bytes) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(backup) => {
            let mut again = Vec::new();
            backup.write(&mut again).expect("memory takes everything");
            assert_eq!(Backup::read(&again[..]).expect("what was written is read"), backup);
        }
    }
});
