-- Studies about which model $1 was asked, and in which results of other models were released or reviewed since then.
select distinct asked.study_uid
from job asked
join result part on part.study_uid = asked.study_uid and part.model_id <> asked.model_id
where asked.model_id = $1
  and not exists (select 1 from job newer where newer.study_uid = asked.study_uid
                    and newer.model_id = asked.model_id and newer.created_at > asked.created_at)
  and (part.released_at >= asked.created_at
       or exists (select 1 from review where review.result_id = part.result_id and review.at >= asked.created_at))
