//! Just-in-time guidance: one short sentence for every refusal [`Code`], in each language of the
//! firm, saying what to do now.
//!
//! The table is an exhaustive match: a new code does not compile before it has guidance.

use serde::{Deserialize, Serialize};

use crate::refusal::Code;

/// A language in which the firm speaks to its people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English, `en`.
    #[serde(rename = "en")]
    English,
    /// Hebrew, `he`, written from right to left.
    #[serde(rename = "he")]
    Hebrew,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::English, Self::Hebrew];
}

/// What to do now after a refusal with this code.
///
/// ```
/// use kta_core::Code;
/// use kta_core::guidance::{self, Language};
/// assert_eq!(guidance::of(Code::ShrExpiry, Language::English), "Give the share an end date.");
/// ```
#[must_use]
pub const fn of(code: Code, language: Language) -> &'static str {
    let (english, hebrew) = sentences(code);
    match language {
        Language::English => english,
        Language::Hebrew => hebrew,
    }
}

macro_rules! guidance {
    ($($code:ident: $english:literal, $hebrew:literal;)*) => {
        const fn sentences(code: Code) -> (&'static str, &'static str) {
            match code { $(Code::$code => ($english, $hebrew),)* }
        }
    };
}

guidance! {
    AccNoMfa: "Switch on a second factor for this administrator, or take the administrator's rights away.",
        "יש להפעיל אימות דו-שלבי למנהל המערכת, או לשלול ממנו את הרשאות הניהול.";
    AccOverpriv: "Give the integration only the rights that its task needs.",
        "יש להשאיר לחיבור האוטומטי רק את ההרשאות הדרושות למשימתו.";
    AccStale: "Review the access list and certify it.",
        "יש לסקור את רשימת המורשים ולאשר אותה מחדש.";
    AccUnlisted: "Close this user's access, or have the user put on the approved access list.",
        "יש לחסום את גישת המשתמש, או לדאוג להכללתו ברשימת המורשים המאושרת.";
    AclDeny: "Check the reference; if your work needs it, ask the lead of the matter for access.",
        "יש לבדוק את המספר המזהה; אם העבודה מצריכה זאת, יש לבקש הרשאה מהאחראי על התיק.";
    AclOrphan: "Appoint another lead for the matter before you build this wall.",
        "יש למנות אחראי אחר לתיק לפני הקמת חומת ההפרדה.";
    AgyChannel: "Choose a channel that is allowed for this class of data.",
        "יש לבחור ערוץ המותר לסוג מידע זה.";
    AgyEdition: "Use the edition of the form that the agency accepts on the filing day.",
        "יש להשתמש במהדורת הטופס שהרשות מקבלת ביום ההגשה.";
    AgyExcess: "Take the document that the form does not require out of the package.",
        "יש להוציא מהחבילה את המסמך שהטופס אינו דורש.";
    AgyFiled: "Look at what was filed; file again when the agency asks for more.",
        "יש לעיין במה שהוגש; ניתן להגיש שוב כאשר הרשות מבקשת השלמה.";
    AgyFormat: "Convert or split the file to a type and size that the agency accepts.",
        "יש להמיר או לפצל את הקובץ לסוג ולגודל שהרשות מקבלת.";
    AgyNoAuth: "Obtain the client's signed authority before you file.",
        "יש לקבל מהלקוח ייפוי כוח חתום לפני ההגשה.";
    AgyReceipt: "Compare the receipt number with the agency's notice and with the matter.",
        "יש להשוות את מספר האישור להודעת הרשות ולתיק.";
    AgySign: "Have the form signed in the way that the agency requires.",
        "יש להחתים את הטופס באופן שהרשות דורשת.";
    AgyTranslation: "Add the certified translation of the document.",
        "יש לצרף תרגום מאושר של המסמך.";
    AgyWrongPerson: "Take the other person's document out of the package and report an incident.",
        "יש להוציא מהחבילה את המסמך של האדם האחר ולדווח על אירוע.";
    AudChain: "Stop, change nothing and call the security officer: the log was altered.",
        "יש לעצור, לא לשנות דבר ולפנות לממונה אבטחת המידע: יומן הביקורת שונה.";
    AudDown: "Tell the system administrator, and try again when the audit log can be written.",
        "יש להודיע למנהל המערכת ולנסות שוב כשניתן יהיה לכתוב ביומן הביקורת.";
    AudFork: "Stop, change nothing and call the security officer: an older copy is in use.",
        "יש לעצור, לא לשנות דבר ולפנות לממונה אבטחת המידע: נעשה שימוש בעותק ישן.";
    AudGap: "Export the missing interval of the vendor's log again.",
        "יש לייצא שוב את פרק הזמן החסר מיומן הספק.";
    AudIndep: "Appoint an assessor who has no part in what is assessed.",
        "יש למנות בודק שאין לו חלק בנושא הנבדק.";
    AudLate: "Keep the late rows, and ask the vendor why they came after the seal.",
        "יש לשמור את השורות המאוחרות ולברר עם הספק מדוע הגיעו לאחר החתימה.";
    AudNoevid: "Attach the evidence, then close the finding.",
        "יש לצרף ראיות ורק אז לסגור את הממצא.";
    AudTrunc: "Stop, change nothing and call the security officer: entries are missing.",
        "יש לעצור, לא לשנות דבר ולפנות לממונה אבטחת המידע: חסרות רשומות ביומן.";
    CfgStale: "Take a fresh snapshot of the settings, then try again.",
        "יש לקחת תמונת מצב עדכנית של ההגדרות ולנסות שוב.";
    CrmFieldRestricted: "Ask the CRM's administrator for the right to read this field; do not treat it as empty.",
        "יש לבקש ממנהל ה-CRM הרשאה לקרוא את השדה; אין להתייחס אליו כריק.";
    CrmLeakField: "Move the identifier to the field meant for it, and clear this one.",
        "יש להעביר את המספר המזהה לשדה המיועד לו ולנקות את השדה הנוכחי.";
    CrmNoBasis: "Record the lawful basis in the CRM record.",
        "יש לרשום ברשומת ה-CRM את הבסיס החוקי.";
    CrmVanished: "Find out who removed the record, and report an incident.",
        "יש לברר מי מחק את הרשומה ולדווח על אירוע.";
    CrmWrongStore: "Keep this category in the firm's sealed store, not in the CRM.",
        "יש לשמור מידע מסוג זה במאגר המוצפן של המשרד ולא ב-CRM.";
    CryErased: "Nothing to do: the person's data was lawfully destroyed and cannot be read.",
        "אין צורך בפעולה: המידע על האדם הושמד כדין ואינו ניתן לקריאה.";
    CryKey: "Ask the system administrator to check the key table; do not make a new key.",
        "יש לבקש ממנהל המערכת לבדוק את טבלת המפתחות; אין ליצור מפתח חדש.";
    CryNonce: "Stop writing and call the security officer: the random source may be broken.",
        "יש להפסיק לכתוב ולפנות לממונה אבטחת המידע: ייתכן שמקור האקראיות תקול.";
    CrySwap: "Leave the value alone and call the security officer: it was moved or replaced.",
        "אין לגעת בערך ויש לפנות לממונה אבטחת המידע: הערך הועבר או הוחלף.";
    DlpBlock: "Remove the sensitive content, or choose a way that is allowed for it.",
        "יש להסיר את התוכן הרגיש, או לבחור דרך המותרת עבורו.";
    DlpOpaque: "Provide a copy that can be inspected, without a password.",
        "יש לספק עותק שניתן לבדוק אותו, ללא סיסמה.";
    DlpResidue: "Redact again from the original, and check the result.",
        "יש להשחיר שוב מתוך המקור ולבדוק את התוצאה.";
    DocLabel: "Label the document as a special category, then store it.",
        "יש לסמן את המסמך כמידע בעל רגישות מיוחדת ורק אז לשמור אותו.";
    DocNover: "Have versioning switched on in this library, then store the document.",
        "יש לדאוג להפעלת ניהול גרסאות בספרייה ורק אז לשמור את המסמך.";
    DocPath: "Choose a plain file name without special characters.",
        "יש לבחור שם קובץ פשוט, ללא תווים מיוחדים.";
    DocPiiName: "Name the file by its number and kind, without personal data.",
        "יש לקרוא לקובץ לפי מספרו וסוגו, ללא פרטים אישיים.";
    DspChanged: "Propose the set as it is now, and have it approved again.",
        "יש להציע את המערך במצבו הנוכחי ולאשר אותו מחדש.";
    DspHold: "Stop the disposition: a hold came meanwhile, so the data stays.",
        "יש לעצור את ההליך: בינתיים הוטלה הקפאה משפטית והמידע נשמר.";
    DspOpen: "Settle and close the matter before you propose its disposition.",
        "יש ליישב ולסגור את התיק לפני הצעת ביעורו.";
    DspOriginal: "Return the original to the client, and record that.",
        "יש להחזיר ללקוח את מסמך המקור ולתעד זאת.";
    DspSelf: "Ask another authorised person to approve.",
        "יש לבקש אישור מאדם מוסמך אחר.";
    DstCeInvalid: "Destroy every copy of the key, or erase the data itself.",
        "יש להשמיד כל עותק של המפתח, או למחוק את המידע עצמו.";
    DstHold: "Keep the data until the legal hold is released.",
        "יש לשמור את המידע עד להסרת ההקפאה המשפטית.";
    DstResidue: "Erase again where data was found, then probe again.",
        "יש למחוק שוב במקום שבו נמצא מידע ולבדוק מחדש.";
    DstUnmapped: "Find the copy and register its place before you destroy.",
        "יש לאתר את העותק ולרשום את מקומו לפני ההשמדה.";
    ExtClass: "Destroy it through a disposition; do not archive it.",
        "יש לבער את המידע בהליך מסודר; אין להעבירו לארכיון.";
    ExtFixity: "Do not use this archive; take a copy that matches its manifest.",
        "אין להשתמש בארכיון זה; יש לקחת עותק התואם את רשימת התוכן.";
    ExtNoTrigger: "Record the date from which the archive's period runs.",
        "יש לרשום את התאריך שממנו נמנית תקופת הארכיון.";
    ExtOpen: "Answer or withdraw what is still open, then try again.",
        "יש להשלים או לבטל את מה שעדיין פתוח ולנסות שוב.";
    ImpEffect: "Check the effect of the change and record it, then close the change.",
        "יש לבדוק את השפעת השינוי ולתעד אותה ורק אז לסגור אותו.";
    ImpSource: "Name the query from which the measure comes.",
        "יש לציין את השאילתה שממנה חושב המדד.";
    IncAmend: "Record an amendment; the earlier time stays beside it.",
        "יש לרשום תיקון; המועד הקודם נשמר לצידו.";
    IncClock: "Decide when the firm became aware and answer every notification due, then close.",
        "יש לקבוע מתי נודע למשרד ולהשיב על כל חובת דיווח ורק אז לסגור.";
    IncTimes: "Check the order of the times: awareness cannot come before detection.",
        "יש לבדוק את סדר הזמנים: הידיעה אינה יכולה להקדים את הגילוי.";
    IntBomb: "Ask the sender for the documents as single files.",
        "יש לבקש מהשולח את המסמכים כקבצים נפרדים.";
    IntChannel: "Use a registered channel, or have this one registered first.",
        "יש להשתמש בערוץ רשום, או לרשום תחילה את הערוץ הזה.";
    IntMalformed: "Ask the sender to send the message or form again.",
        "יש לבקש מהשולח לשלוח שוב את ההודעה או הטופס.";
    IntOpaque: "Ask the sender for the files without a password, through the secure form.",
        "יש לבקש מהשולח את הקבצים ללא סיסמה, דרך הטופס המאובטח.";
    IntPath: "Ask the sender to give the file a plain name and send it again.",
        "יש לבקש מהשולח לתת לקובץ שם פשוט ולשלוח אותו שוב.";
    IntSize: "Ask the sender to split the message into smaller ones.",
        "יש לבקש מהשולח לחלק את ההודעה להודעות קטנות יותר.";
    IntSpoof: "Do not answer the message; call the client at the number on file.",
        "אין להשיב להודעה; יש להתקשר ללקוח למספר השמור בתיק.";
    IntType: "Ask the sender for an allowed file type, under its true name.",
        "יש לבקש מהשולח קובץ מסוג מותר, בשם התואם את סוגו.";
    NetCert: "Do not go on; ask the system administrator to check the server's certificate.",
        "אין להמשיך; יש לבקש ממנהל המערכת לבדוק את אישור האבטחה של השרת.";
    NetHost: "Use a host on the list, or have this one reviewed and listed.",
        "יש להשתמש בשרת שברשימה, או לבדוק את השרת הזה ולהוסיפו לרשימה.";
    NetPlain: "Use the encrypted address of the server.",
        "יש להשתמש בכתובת המוצפנת של השרת.";
    NetRedirect: "Do not follow it; ask the system administrator where the server points.",
        "אין לעקוב אחר ההפניה; יש לבקש ממנהל המערכת לבדוק לאן השרת מפנה.";
    NetTokenLeak: "Take the credential out of the address or log, and replace it.",
        "יש להסיר את פרטי ההזדהות מהכתובת או מהיומן ולהחליפם.";
    NetVersion: "Ask the system administrator for a current protocol version on both sides.",
        "יש לבקש ממנהל המערכת גרסת פרוטוקול עדכנית בשני הצדדים.";
    PolExpired: "Have the policy reviewed and put in force again.",
        "יש לדאוג לבחינת המדיניות ולהכנסתה מחדש לתוקף.";
    PolSign: "Obtain both signatures on the policy change.",
        "יש להשיג את שתי החתימות על שינוי המדיניות.";
    PrcNoGround: "Record the ground for this special category, or do not use the data.",
        "יש לרשום את העילה לעיבוד המידע הרגיש, או להימנע משימוש בו.";
    PrcPurpose: "Record a lawful basis for this purpose, or do not use the data for it.",
        "יש לרשום בסיס חוקי למטרה זו, או להימנע משימוש במידע עבורה.";
    PrcRestricted: "Leave the data as it is until the privacy officer lifts the restriction.",
        "יש להשאיר את המידע כפי שהוא עד שממונה הגנת הפרטיות יסיר את ההגבלה.";
    PrcTransition: "Take the matter through the step that comes first.",
        "יש להעביר את התיק תחילה בשלב הקודם.";
    RetBrake: "Find out why so much would end at once; split the change if it is meant.",
        "יש לברר מדוע מועד השמירה של כה הרבה רשומות יסתיים בבת אחת; אם זו הכוונה, יש לפצל את השינוי.";
    RetConflict: "Keep the data, and ask the privacy officer which rule applies.",
        "יש לשמור את המידע ולשאול את ממונה הגנת הפרטיות איזה כלל חל.";
    RetNoTrigger: "Record the date from which the retention period runs.",
        "יש לרשום את התאריך שממנו נמנית תקופת השמירה.";
    RetPack: "Install a signed retention pack of a known version.",
        "יש להתקין חבילת כללי שמירה חתומה בגרסה מוכרת.";
    RetUnclassed: "Give the record its retention class.",
        "יש לשייך את הרשומה לסיווג שמירה.";
    RetWait: "Wait until the day that is named, then put the change in force.",
        "יש להמתין עד ליום הנקוב ורק אז להכניס את השינוי לתוקף.";
    RevCriminalCopy: "Ask an attorney to decide whether the police certificate may be kept.",
        "יש לבקש מעורך דין להחליט אם מותר לשמור את תעודת היושר.";
    RevExcess: "Return or destroy the document: it is not needed for the purpose.",
        "יש להחזיר או להשמיד את המסמך: הוא אינו נחוץ למטרה.";
    RevIncomplete: "Ask the client for the missing items.",
        "יש לבקש מהלקוח את הפריטים החסרים.";
    RevInconsistent: "Ask the client which of the documents is right.",
        "יש לברר עם הלקוח איזה מהמסמכים נכון.";
    RevReleased: "The delivery stays in quarantine: release it into a matter of its own, or discard it.",
        "המשלוח נשאר בהסגר: יש לשחררו לתיק משלו או להשליכו.";
    RevSelf: "Ask a colleague to review.",
        "יש לבקש מעמית לבצע את הבדיקה.";
    RevUnsorted: "Say whose the attachment is and what it is, or set it aside as not needed.",
        "יש לקבוע של מי הצרופה ומה היא, או להפרישה כלא נחוצה.";
    RevWrongPerson: "Put the document aside and report an incident.",
        "יש להפריש את המסמך ולדווח על אירוע.";
    ShpAnonLink: "Remove the anonymous link.",
        "יש להסיר את הקישור האנונימי.";
    ShpBroadGroup: "Replace the group with the people who work on the matter.",
        "יש להחליף את הקבוצה באנשים העובדים על התיק.";
    ShpGuest: "Remove the guest, or make a share with an end date instead.",
        "יש להסיר את האורח, או לשתף במקום זאת עם תאריך סיום.";
    ShpWallBreach: "Take the walled person's access away at once, and report an incident.",
        "יש לשלול מיד את הגישה ממי שמעבר לחומת ההפרדה ולדווח על אירוע.";
    ShrClass: "Do not share this category outside the firm.",
        "אין לשתף מידע מסוג זה מחוץ למשרד.";
    ShrDomain: "Have the recipient's domain verified before you share.",
        "יש לאמת את הדומיין של הנמען לפני השיתוף.";
    ShrExpiry: "Give the share an end date.",
        "יש לקבוע לשיתוף תאריך סיום.";
    ShrLocation: "Move the file to the matter's own place, then share it.",
        "יש להעביר את הקובץ למקום המיועד לתיק ורק אז לשתף אותו.";
    SupListed: "Do not enter the person again; ask the privacy officer.",
        "אין להזין את האדם מחדש; יש לפנות לממונה הגנת הפרטיות.";
    SynLocked: "Find out why processing was stopped in the CRM before you change anything.",
        "יש לברר מדוע הופסק העיבוד ב-CRM לפני כל שינוי.";
    SynReparent: "Confirm the record's move with the lead of the matter.",
        "יש לוודא עם האחראי על התיק שהרשומה הועברה כדין.";
    SynSchema: "Have the field map checked against the CRM's new schema.",
        "יש לבדוק את מפת השדות מול המבנה החדש של ה-CRM.";
    SynSkew: "Have the clocks set right, then try again.",
        "יש לכוון את השעונים ולנסות שוב.";
    SynUnmapped: "Have the field put on the map, or leave it out.",
        "יש להוסיף את השדה למפה, או להשמיט אותו.";
    TrnBackdate: "Record the completion under the day on which it truly took place.",
        "יש לרשום את השלמת ההדרכה ביום שבו התקיימה בפועל.";
    TrnExpired: "Complete the required training, then try again.",
        "יש להשלים את ההדרכה הנדרשת ולנסות שוב.";
    TrnIdentity: "Complete the training yourself, under your own identity.",
        "יש להשלים את ההדרכה באופן אישי ובזהות האמיתית.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HEBREW: core::ops::RangeInclusive<char> = 'א'..='ת';

    #[test]
    fn every_code_has_one_sentence_in_each_language() {
        for code in Code::ALL {
            for language in Language::ALL {
                let text = code.guidance(language);
                assert!(
                    text.ends_with('.') && text.chars().count() <= 120,
                    "{code}: {text}"
                );
                let hebrew = text
                    .chars()
                    .filter(|letter| HEBREW.contains(letter))
                    .count();
                assert_eq!(hebrew > 5, language == Language::Hebrew, "{code}: {text}");
            }
        }
    }

    #[test]
    fn no_two_codes_share_a_sentence() {
        for language in Language::ALL {
            let texts: BTreeSet<_> = Code::ALL.iter().map(|code| of(*code, language)).collect();
            assert_eq!(texts.len(), Code::ALL.len());
        }
    }
}
