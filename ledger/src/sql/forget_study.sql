update study
set patient_id = '', patient_issuer = '', patient_name = '', patient_birth_date = '', patient_sex = '',
    accession_number = '', study_description = '', waits_for = null,
    looked_revision = revision, look_again_at = null, forgotten_at = $2
where study_uid = $1
