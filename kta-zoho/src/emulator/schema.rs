//! Modules and fields of the emulated organisation: an immigration firm's CRM.

use serde_json::{Value, json};

use super::people::{ADMINISTRATOR_PROFILE, STANDARD_PROFILE};

/// A module the records API knows.
#[derive(Debug)]
pub(super) struct ModuleSpec {
    pub(super) api_name: &'static str,
    pub(super) singular: &'static str,
    pub(super) id: u64,
    /// The field whose value the recycle bin and the deleted list show.
    pub(super) display_field: &'static str,
    /// The duplicate check Zoho does when an upsert names no field of its own.
    pub(super) system_duplicate_field: Option<&'static str>,
    pub(super) fields: &'static [FieldSpec],
}

impl ModuleSpec {
    pub(super) fn field(&self, api_name: &str) -> Option<&'static FieldSpec> {
        self.fields.iter().find(|field| field.api_name == api_name)
    }

    /// One entry of `settings/modules`.
    pub(super) fn metadata(&self, position: usize) -> Value {
        json!({
            "global_search_supported": true, "public_fields_configured": false,
            "recycle_bin_on_delete": true, "has_more_profiles": false,
            "sub_menu_available": true, "lookupable": true, "profile_count": 2,
            "deletable": true, "description": null, "creatable": true,
            "inventory_template_supported": false, "modified_time": null,
            "presence_sub_menu": true, "triggers_supported": true, "id": self.id.to_string(),
            "api_name": self.api_name, "plural_label": self.api_name,
            "actual_plural_label": self.api_name, "actual_singular_label": self.singular,
            "singular_label": self.singular, "isBlueprintSupported": true, "visibility": 1,
            "convertable": false, "editable": true, "emailTemplate_support": true,
            "email_parser_supported": true, "filter_supported": true, "show_as_tab": true,
            "web_link": null, "viewable": true, "api_supported": true, "quick_create": true,
            "generated_type": "default", "feeds_required": true, "scoring_supported": true,
            "webform_supported": true, "arguments": [], "module_name": self.api_name,
            "business_card_field_limit": 5, "track_current_data": false, "modified_by": null,
            "profiles": profile_refs(), "parent_module": null, "status": "visible",
            "sequence_number": position,
        })
    }
}

/// A field of a module.
#[derive(Debug)]
pub(super) struct FieldSpec {
    pub(super) api_name: &'static str,
    pub(super) kind: Kind,
    pub(super) length: usize,
    pub(super) custom: bool,
    pub(super) mandatory: bool,
    pub(super) unique: bool,
    /// Computed by the server; values sent for it are ignored.
    pub(super) read_only: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    /// Several of a list.
    Choices,
    Date,
    DateTime,
    Email,
    /// A link to a row of the named module.
    Lookup(&'static str),
    Owner,
    Phone,
    Picklist,
    /// Rows of the named subform.
    Rows(&'static str),
    Text,
    TextArea,
}

impl Kind {
    pub(super) fn data_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Choices => "multiselectpicklist",
            Self::Date => "date",
            Self::DateTime => "datetime",
            Self::Email => "email",
            Self::Lookup(_) => "lookup",
            Self::Owner => "ownerlookup",
            Self::Phone => "phone",
            Self::Picklist => "picklist",
            Self::Rows(_) => "subform",
            Self::Text => "text",
            Self::TextArea => "textarea",
        }
    }

    fn json_type(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Choices | Self::Rows(_) => "jsonarray",
            Self::Lookup(_) | Self::Owner => "jsonobject",
            _ => "string",
        }
    }
}

impl FieldSpec {
    const fn new(api_name: &'static str, kind: Kind, length: usize) -> Self {
        Self {
            api_name,
            kind,
            length,
            custom: false,
            mandatory: false,
            unique: false,
            read_only: false,
        }
    }

    const fn custom(mut self) -> Self {
        self.custom = true;
        self
    }

    const fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    const fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// One entry of `settings/fields`. `private` is the personal-data marking of the field.
    pub(super) fn metadata(&self, id: u64, display_field: bool, private: Option<Value>) -> Value {
        let label = self.api_name.replace('_', " ");
        let lookup = match self.kind {
            Kind::Lookup(module) => json!({
                "display_label": label, "api_name": module,
                "module": {"api_name": module, "crypt": false, "id": module_id(module)},
                "id": (id + 500_000).to_string(),
            }),
            _ => json!({}),
        };
        let unique = if self.unique {
            json!({"case_sensitive": false})
        } else {
            json!({})
        };
        let associated = match self.kind {
            Kind::Rows(module) => json!({"module": module, "id": module_id(module)}),
            _ => Value::Null,
        };
        json!({
            "associated_module": associated, "webhook": true,
            "operation_type": {
                "web_update": !self.read_only, "api_create": !self.read_only,
                "web_create": !self.read_only, "api_update": !self.read_only,
            },
            "colour_code_enabled_by_system": false, "field_label": label, "tooltip": null,
            "type": "used", "field_read_only": self.read_only, "display_label": label,
            "read_only": self.read_only, "association_details": null,
            "businesscard_supported": true, "multi_module_lookup": {}, "id": id.to_string(),
            "created_time": null, "filterable": true, "visible": true,
            "profiles": [
                {"permission_type": "read_write", "name": ADMINISTRATOR_PROFILE.1, "id": ADMINISTRATOR_PROFILE.0.to_string()},
                {"permission_type": "read_write", "name": STANDARD_PROFILE.1, "id": STANDARD_PROFILE.0.to_string()},
            ],
            "view_type": {
                "view": true, "edit": !self.read_only, "quick_create": self.mandatory,
                "create": !self.read_only,
            },
            "separator": false, "searchable": true, "history_tracking_enabled": true,
            "external": null, "api_name": self.api_name, "unique": unique,
            "enable_colour_code": false, "pick_list_values": [],
            "system_mandatory": self.mandatory, "private": private, "virtual_field": false,
            "json_type": self.kind.json_type(), "crypt": null, "range": null,
            "created_source": "default", "display_type": -1, "ui_type": 1,
            "modified_time": null, "public": false,
            "email_parser": {"fields_update_supported": true, "record_operations_supported": true},
            "currency": {}, "custom_field": self.custom, "lookup": lookup,
            "hipaa_compliance": null, "convert_mapping": {}, "rollup_summary": {},
            "length": self.length, "column_name": self.api_name.to_ascii_uppercase(),
            "display_field": display_field, "pick_list_values_sorted_lexically": false,
            "sortable": true, "global_picklist": null, "history_tracking": null,
            "data_type": self.kind.data_type(), "formula": {}, "decimal_place": null,
            "mass_update": true, "multiselectlookup": {}, "auto_number": {},
        })
    }
}

pub(super) fn module(api_name: &str) -> Option<&'static ModuleSpec> {
    MODULES.iter().find(|module| module.api_name == api_name)
}

pub(super) fn profile_refs() -> Value {
    json!([
        {"id": ADMINISTRATOR_PROFILE.0.to_string(), "name": ADMINISTRATOR_PROFILE.1},
        {"id": STANDARD_PROFILE.0.to_string(), "name": STANDARD_PROFILE.1},
    ])
}

fn module_id(api_name: &str) -> String {
    module(api_name).map_or(0, |module| module.id).to_string()
}

/// The id from which everything in the organisation counts upwards, as in a real one.
pub(super) const FIRST_ID: u64 = 5_843_104_000_000_000_000;

pub(super) static MODULES: [ModuleSpec; 4] = [
    ModuleSpec {
        api_name: "Contacts",
        singular: "Contact",
        id: FIRST_ID + 2_179,
        display_field: "Full_Name",
        system_duplicate_field: Some("Email"),
        fields: &CONTACT_FIELDS,
    },
    ModuleSpec {
        api_name: "Deals",
        singular: "Deal",
        id: FIRST_ID + 2_181,
        display_field: "Deal_Name",
        system_duplicate_field: Some("Deal_Name"),
        fields: &DEAL_FIELDS,
    },
    ModuleSpec {
        api_name: "Dependents",
        singular: "Dependent",
        id: FIRST_ID + 2_189,
        display_field: "Child_Name",
        system_duplicate_field: None,
        fields: &DEPENDENT_FIELDS,
    },
    ModuleSpec {
        api_name: "Notes",
        singular: "Note",
        id: FIRST_ID + 2_197,
        display_field: "Note_Title",
        system_duplicate_field: None,
        fields: &NOTE_FIELDS,
    },
];

static CONTACT_FIELDS: [FieldSpec; 43] = [
    FieldSpec::new("Owner", Kind::Owner, 120),
    FieldSpec::new("Salutation", Kind::Picklist, 120),
    FieldSpec::new("First_Name", Kind::Text, 40),
    FieldSpec::new("Last_Name", Kind::Text, 80).mandatory(),
    FieldSpec::new("Full_Name", Kind::Text, 121).read_only(),
    FieldSpec::new("Email", Kind::Email, 100),
    FieldSpec::new("Secondary_Email", Kind::Email, 100),
    FieldSpec::new("Phone", Kind::Phone, 30),
    FieldSpec::new("Mobile", Kind::Phone, 30),
    FieldSpec::new("Date_of_Birth", Kind::Date, 20),
    FieldSpec::new("Mailing_Street", Kind::Text, 250),
    FieldSpec::new("Mailing_City", Kind::Text, 30),
    FieldSpec::new("Mailing_State", Kind::Text, 30),
    FieldSpec::new("Mailing_Zip", Kind::Text, 30),
    FieldSpec::new("Mailing_Country", Kind::Text, 30),
    FieldSpec::new("Description", Kind::TextArea, 32_000),
    FieldSpec::new("Data_Processing_Basis", Kind::Picklist, 120),
    FieldSpec::new("Data_Source", Kind::Picklist, 120).read_only(),
    FieldSpec::new("Created_By", Kind::Owner, 120).read_only(),
    FieldSpec::new("Created_Time", Kind::DateTime, 120).read_only(),
    FieldSpec::new("Modified_By", Kind::Owner, 120).read_only(),
    FieldSpec::new("Modified_Time", Kind::DateTime, 120).read_only(),
    FieldSpec::new("KTA_Key", Kind::Text, 120).custom().unique(),
    FieldSpec::new("Subject_Key", Kind::Text, 120).custom(),
    FieldSpec::new("Matter_Key", Kind::Text, 120).custom(),
    FieldSpec::new("Passport_Number", Kind::Text, 60).custom(),
    FieldSpec::new("Passport_Expiry", Kind::Date, 20).custom(),
    FieldSpec::new("Passport_Country", Kind::Text, 60).custom(),
    FieldSpec::new("Nationality", Kind::Text, 60).custom(),
    FieldSpec::new("Place_of_Birth", Kind::Text, 256).custom(),
    FieldSpec::new("Alien_Number", Kind::Text, 30).custom(),
    FieldSpec::new("National_ID", Kind::Text, 60).custom(),
    FieldSpec::new("Visa_Class", Kind::Text, 30).custom(),
    FieldSpec::new("Sex", Kind::Text, 10).custom(),
    FieldSpec::new("Marital_Status", Kind::Text, 30).custom(),
    FieldSpec::new("Employer", Kind::Text, 120).custom(),
    FieldSpec::new("Occupation", Kind::Text, 255).custom(),
    FieldSpec::new("Salary", Kind::Text, 60).custom(),
    FieldSpec::new("Purpose", Kind::Text, 60).custom(),
    FieldSpec::new("Case_Notes", Kind::TextArea, 32_000).custom(),
    FieldSpec::new("Guardian", Kind::Lookup("Contacts"), 120).custom(),
    FieldSpec::new("Languages", Kind::Choices, 120).custom(),
    FieldSpec::new("Dependents", Kind::Rows("Dependents"), 200).custom(),
];

/// The rows of a subform in `Contacts`.
static DEPENDENT_FIELDS: [FieldSpec; 2] = [
    FieldSpec::new("Child_Name", Kind::Text, 120).custom(),
    FieldSpec::new("Birth", Kind::Date, 20).custom(),
];

static DEAL_FIELDS: [FieldSpec; 15] = [
    FieldSpec::new("Owner", Kind::Owner, 120),
    FieldSpec::new("Deal_Name", Kind::Text, 120).mandatory(),
    FieldSpec::new("Stage", Kind::Picklist, 120).mandatory(),
    FieldSpec::new("Type", Kind::Picklist, 120),
    FieldSpec::new("Closing_Date", Kind::Date, 20),
    FieldSpec::new("Contact_Name", Kind::Lookup("Contacts"), 120),
    FieldSpec::new("Description", Kind::TextArea, 32_000),
    FieldSpec::new("Created_By", Kind::Owner, 120).read_only(),
    FieldSpec::new("Created_Time", Kind::DateTime, 120).read_only(),
    FieldSpec::new("Modified_By", Kind::Owner, 120).read_only(),
    FieldSpec::new("Modified_Time", Kind::DateTime, 120).read_only(),
    FieldSpec::new("KTA_Key", Kind::Text, 120).custom().unique(),
    FieldSpec::new("Matter_Key", Kind::Text, 120).custom(),
    FieldSpec::new("Form_Number", Kind::Text, 30).custom(),
    FieldSpec::new("On_Hold", Kind::Boolean, 5).custom(),
];

static NOTE_FIELDS: [FieldSpec; 8] = [
    FieldSpec::new("Owner", Kind::Owner, 120),
    FieldSpec::new("Note_Title", Kind::Text, 120),
    FieldSpec::new("Note_Content", Kind::TextArea, 32_000),
    FieldSpec::new("Parent_Id", Kind::Lookup("Contacts"), 120),
    FieldSpec::new("Created_By", Kind::Owner, 120).read_only(),
    FieldSpec::new("Created_Time", Kind::DateTime, 120).read_only(),
    FieldSpec::new("Modified_By", Kind::Owner, 120).read_only(),
    FieldSpec::new("Modified_Time", Kind::DateTime, 120).read_only(),
];
