use ledger::{AccountId, DicomPatient, Ledger, NewAccount, PushToken, Role};

use crate::database::TestDb;
use crate::examples::{at, receive_study, study};
use crate::on_both;

async fn account(ledger: &Ledger, name: &str, role: Role) -> AccountId {
    let new = NewAccount {
        name: name.to_owned(),
        role,
        full_name: String::new(),
        organization: String::new(),
        password_hash: String::new(),
    };
    ledger.add_account(&new, "admin", at(0)).await.expect("added")
}

fn tokens(names: &[&str]) -> Vec<PushToken> {
    names.iter().map(|name| PushToken::new(*name)).collect()
}

async fn devices(ledger: &Ledger, name: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for recipient in ledger.devices_of_doctors(name).await.expect("an answer") {
        let token = ledger.push_token(recipient).await.expect("an answer").expect("a token");
        found.push(token.expose().to_owned());
    }
    found
}

on_both! {
    async fn a_device_is_one_doctors_and_no_longer_told_when_he_is_gone(db: TestDb) {
        let ledger = &db.ledger;
        let (kim, lee) = (account(ledger, "kim", Role::Doctor).await, account(ledger, "lee", Role::Doctor).await);
        let technician = account(ledger, "han", Role::Technician).await;
        ledger.set_devices(kim, &tokens(&["a", "b"]), at(1)).await.expect("set");
        ledger.set_devices(technician, &tokens(&["t"]), at(1)).await.expect("set");
        let of_b = ledger.devices_of_doctors(None).await.expect("an answer")[1];
        // Lee has signed in on the device that was Kim's.
        ledger.set_devices(lee, &tokens(&["a"]), at(2)).await.expect("set");
        assert_eq!(devices(ledger, Some("kim")).await, ["b"]);
        assert_eq!(devices(ledger, None).await, ["b", "a"]);
        ledger.set_devices(kim, &tokens(&["b", "c"]), at(3)).await.expect("set");
        // Who stays keeps his number.
        assert_eq!(ledger.devices_of_doctors(Some("kim")).await.expect("an answer")[0], of_b);
        ledger.disable_account("kim", "admin", at(4)).await.expect("disabled");
        assert_eq!(devices(ledger, None).await, ["a"]);
        assert_eq!(ledger.push_token(of_b).await.expect("an answer"), None);
    }

    async fn a_patients_apps_are_told_of_studies_that_somebody_says_are_his(db: TestDb) {
        let ledger = &db.ledger;
        receive_study(ledger, 1).await;
        let row = ledger.study(&study(1)).await.expect("an answer").expect("the study");
        let same = DicomPatient { id: row.patient.id.clone(), issuer: row.patient.issuer.clone() };
        ledger.set_patient_recipients("12", &tokens(&["p"]), &[], "key:app", at(1)).await.expect("set");
        assert!(ledger.apps_of_study(&study(1)).await.expect("an answer").is_empty(), "nobody said so");
        // The same number in images is another patient until somebody says that it is not.
        ledger.set_patient_recipients(&same.id, &tokens(&["q"]), &[], "key:app", at(1)).await.expect("set");
        assert!(ledger.apps_of_study(&study(1)).await.expect("an answer").is_empty(), "it was guessed");
        ledger.set_patient_recipients("12", &tokens(&["p"]), &[same], "key:app", at(2)).await.expect("set");
        let apps = ledger.apps_of_study(&study(1)).await.expect("an answer");
        assert_eq!(apps, ledger.apps_of_patient("12").await.expect("an answer"));
        assert_eq!(apps.len(), 1);
        ledger.forget_recipient(apps[0]).await.expect("forgotten");
        assert_eq!(ledger.push_token(apps[0]).await.expect("an answer"), None);
        assert!(ledger.apps_of_patient("12").await.expect("an answer").is_empty());
    }
}
