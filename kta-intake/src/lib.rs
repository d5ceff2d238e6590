//! Intake by mail and web form: channel verdict, attachment safety.
