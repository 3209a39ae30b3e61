-- Where push messages go: doctors' devices, and the apps of patients.
create table push_recipient (
    recipient_id integer primary key autoincrement,
    kind         text    not null check (kind in ('doctor', 'patient')),
    -- The account of a doctor; the callers' word for a patient.
    owner        text    not null,
    -- A secret: whoever has it can be told things in our name.
    token        text    not null,
    created_at   integer not null,
    unique (kind, owner, token)
) strict;

create index push_recipient_of_token on push_recipient (token);

-- Who says that the callers' word for a patient and the one of images mean the same person. Never guessed.
create table patient_link (
    patient_id       text    not null,
    dicom_patient_id text    not null,
    dicom_issuer     text    not null,
    made_by          text    not null,
    created_at       integer not null,
    primary key (patient_id, dicom_patient_id, dicom_issuer)
) strict;

create index patient_link_of_images on patient_link (dicom_patient_id, dicom_issuer);
