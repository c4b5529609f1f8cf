"""The first text that people agree to: what is kept, why, how long, who sees it, how to withdraw.

A scheme publishes its own as a newer version; this one is never changed, because people have agreed to it.
Source: 个人信息保护法 art. 14-17, 31, 44-47; 志愿服务记录与证明出具办法 art. 5-6, 12-13, 16.
"""

from typing import Final

FIRST_ZH: Final = (
    "为了记录您参加的志愿服务和所得积分，我们需要留存您的信息。请先看下面几条，再决定同意不同意。\n"
    "留存什么：姓名、联系方式、居住楼栋；您愿意时，还有性别、出生日期、专业技能。身份证号可以不给，给了也只留"
    "下不能还原的校验值和后四位。\n"
    "用来做什么：记录服务时长、折算和兑换积分、开具志愿服务证明、有差错时联系您。不作别的用途，不打分，不排名"
    "，不用于商业推销。\n"
    "谁能看到：只有本小区和上级负责志愿服务的工作人员，每次查看都有记录，您可以查到。公示时名字中间用星号代替"
    "。机器的维护单位看不到您的姓名和电话。\n"
    "保存多久：服务记录依规定至少保存十年，查看记录至少保存六个月。\n"
    "您可以随时查看、复制、更正自己的信息，也可以撤回同意：在手机上点“撤回同意”，或到小区服务点说一声，当场"
    "办理。撤回以后不再新增记录、不再公示，已有的积分还可以用；您也可以销户，或要求把您的信息匿名。\n"
    "不满十四周岁的，要由父母或其他监护人同意。不同意也可以参加活动，只是不能积分和兑换。"
)
FIRST_EN: Final = (
    "To record your volunteer work and the points for it we have to keep information about you. Please read "
    "this first.\n"
    "What is kept: name, contact, building; if you like also sex, birth date and skills. An ID number is not "
    "needed; if you give it, only a check value that cannot be turned back and the last four signs are kept.\n"
    "What for: recording hours, working out and redeeming points, certificates of your service, and reaching "
    "you when something is wrong. Nothing else: no scores, no rankings, no advertising.\n"
    "Who sees it: only the staff of the scheme in your estate and above it. Each look is written down, and "
    "you can see who looked. Public lists mask your name. Those who run the machines see neither name nor "
    "phone.\n"
    "How long: service records for at least ten years, as the rules ask; the list of who looked for at least "
    "six months.\n"
    "You may see, copy and correct your information at any time, and withdraw this consent: on your phone, "
    "or by saying so at the estate's desk, at once. After that nothing new is recorded or shown; the points "
    "you have can still be used. You may also close the account or have your information made anonymous.\n"
    "For a child under 14 a parent or guardian agrees. Without consent you may still take part, but points "
    "cannot be given or redeemed."
)
