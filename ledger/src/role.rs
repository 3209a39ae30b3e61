//! What an account or a key may do; who may call what is decided above.

use crate::text_enum::text_enum;

text_enum! {
    pub enum Role {
        Admin = "admin",
        Doctor = "doctor",
        Technician = "technician",
        Service = "service",
        Worker = "worker",
    }
}
