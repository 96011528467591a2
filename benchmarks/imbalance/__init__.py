"""What to do about clicks being rare: down-sampling, class weights, SMOTE, or nothing; on one transform and two models.

All of them raise the odds of a click by a known factor, and so predict too much. Each is judged before that factor is
divided out of the odds again, and after (He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*,
2014, §6.3; Elkan, *The Foundations of Cost-Sensitive Learning*, 2001, theorem 2).
"""
