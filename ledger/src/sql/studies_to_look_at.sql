-- $1 what arrived before this moment has been quiet for long enough, $2 now
select study_uid
from study
where (revision > looked_revision and (prompted_revision > looked_revision or last_arrival_at <= $1))
   or look_again_at <= $2
order by last_arrival_at, study_uid
limit $3
