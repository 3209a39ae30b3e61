-- $2 is 1 when somebody should look at once, else 0.
-- A study that was forgotten and arrives again is known again as it says it is now.
insert into study (study_uid, revision, prompted_revision,
                   patient_id, patient_issuer, patient_name, patient_birth_date, patient_sex,
                   accession_number, study_date, study_time, study_description,
                   first_arrival_at, last_arrival_at)
values ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
on conflict (study_uid) do update
set revision           = study.revision + 1,
    prompted_revision  = case when $2 = 1 then study.revision + 1 else study.prompted_revision end,
    patient_id         = case when study.forgotten_at is null then study.patient_id else excluded.patient_id end,
    patient_issuer     = case when study.forgotten_at is null then study.patient_issuer else excluded.patient_issuer end,
    patient_name       = case when study.forgotten_at is null then study.patient_name else excluded.patient_name end,
    patient_birth_date = case when study.forgotten_at is null then study.patient_birth_date else excluded.patient_birth_date end,
    patient_sex        = case when study.forgotten_at is null then study.patient_sex else excluded.patient_sex end,
    accession_number   = case when study.forgotten_at is null then study.accession_number else excluded.accession_number end,
    study_description  = case when study.forgotten_at is null then study.study_description else excluded.study_description end,
    forgotten_at       = null,
    last_arrival_at    = case when study.last_arrival_at > excluded.last_arrival_at
                              then study.last_arrival_at else excluded.last_arrival_at end
returning patient_id, patient_issuer, patient_name, patient_birth_date, patient_sex
